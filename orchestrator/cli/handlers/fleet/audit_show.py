"""`orchestrator audit show FLEET_ID`."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.audit.fleet_log import read_fleet_event
from orchestrator.audit.record import Record
from orchestrator.audit.store import read_sound_run
from orchestrator.cli.consoles import text_width
from orchestrator.cli.handlers.audit_show import (
    PIPE_WIDTH,
    cvm_document,
    log_document,
    no_cvm_error,
    print_cvm,
    read_history,
)
from orchestrator.cli.handlers.fleet.reading import StoredFleet, read_fleet
from orchestrator.report.audit.fleet_phrases import describe_fleet_event
from orchestrator.report.audit.run_story import RunStory
from orchestrator.report.audit.story import CvmStory, Line
from orchestrator.report.audit.story_text import document, left_out, story_lines
from orchestrator.runs.documents import write_document
from orchestrator.settings.load import load_settings
from orchestrator.text import safe_text


def show_fleet_history(
    run_id: str,
    cvm: str | None,
    limit: int,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Show the events of all runs of a fleet run in the order of time, or of a single CVM."""
    found = read_fleet(load_settings(config, assignments), run_id)
    most = None if every else limit
    if cvm is None:
        _show_runs(found, most, as_json=as_json)
    else:
        _show_cvm(found, cvm, most, as_json=as_json)


def _show_runs(found: StoredFleet, limit: int | None, *, as_json: bool) -> None:
    fleet_lines: list[Line] = []

    def take(record: Record) -> None:
        """Add the sentence of a record of the fleet log."""
        event = read_fleet_event(record)
        fleet_lines.append(Line(event.ts, describe_fleet_event(event), event.name, (event.seq,)))

    reading = read_sound_run(found.stored, take)
    start = fleet_lines[0].ts if fleet_lines else ""
    lines, documents, more = [*fleet_lines], [], 0
    for workspace, run in found.runs:
        story = RunStory(limit)
        run_reading = read_history(run, story.apply_record)
        own, more = story.lines(), more + story.left_out
        name = safe_text(workspace, 64)
        lines += [replace(line, text=f"{name}: {line.text}") for line in own]
        about = {"workspace": workspace} | log_document(run_reading, run) | {"left_out": story.left_out}
        documents.append(about | {"story": document(own, start)})
    if as_json:
        head = {"fleet_id": found.state.fleet_id, "audit_log": found.stored.location, "verdict": reading.verdict.value}
        _write(head | {"story": document(fleet_lines, start), "workspaces": documents})
        return
    day = f", {safe_text(start[:10], 10)}" if start else ""
    click.echo(f"Fleet run {safe_text(found.state.fleet_id, 64)}{day}; times are UTC")
    for text in story_lines(sorted(lines, key=lambda line: line.ts), start, text_width(PIPE_WIDTH)):
        click.echo(text)
    if more:
        click.echo(left_out(more, "sentence"))


def _show_cvm(found: StoredFleet, wanted: str, limit: int | None, *, as_json: bool) -> None:
    names: set[str] = set()
    documents, printed = [], 0
    for workspace, run in found.runs:
        story = CvmStory(wanted)
        reading = read_history(run, story.apply_record)
        story.finish()
        names |= {*story.names}
        if not story.chapters:
            continue
        if as_json:
            documents.append({"workspace": workspace} | cvm_document(story, reading, run, limit))
        else:
            click.echo(("\n" if printed else "") + f"Workspace {safe_text(workspace, 64)}")
            print_cvm(story, reading, limit)
        printed += 1
    if not printed:
        raise no_cvm_error(wanted, names, found.stored.location)
    if as_json:
        _write({"fleet_id": found.state.fleet_id, "workspaces": documents})


def _write(found: dict[str, Any]) -> None:
    write_document(found, partial(click.echo, nl=False))
