"""`orchestrator audit show`."""

import difflib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.audit.store import StoredRun, read_run
from orchestrator.audit.verify import Reading, Take, Verdict
from orchestrator.cli.consoles import text_width
from orchestrator.cli.named_runs import find_run
from orchestrator.errors import AlteredError, UsageError
from orchestrator.report.audit.run_story import RunStory
from orchestrator.report.audit.story import CvmStory
from orchestrator.report.audit.story_text import chapter_head, cut, document, left_out, story_lines
from orchestrator.runs.documents import write_document
from orchestrator.text import plural, safe_text

PIPE_WIDTH = 100
_ENDS = {
    Verdict.UNFINISHED: "the log ends here: the run is active, or did not finish",
    Verdict.TORN: "the log ends here with an incomplete line",
}


def show_history(
    run_id: str,
    cvm: str | None,
    limit: int,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Show the history of a run, or of a single CVM of the run."""
    run = find_run(run_id, config, assignments)
    most = None if every else limit
    if cvm is None:
        _show_run(run, most, as_json=as_json)
    else:
        _show_cvm(run, cvm, most, as_json=as_json)


def read_history(run: StoredRun, take: Take) -> Reading:
    """Read the records of a log.

    Raises:
        UsageError: when the log can't be read.
        AlteredError: when the log was altered.
    """
    try:
        reading = read_run(run, take)
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=run.location) from error
    if reading.verdict is Verdict.ALTERED:
        raise AlteredError(
            f"the audit log was altered: {reading.reason}",
            file=run.location,
            line=reading.line,
            hint="an altered log is not shown; see `orchestrator audit verify`",
        )
    return reading


def _print(text: str) -> None:
    """Print in colour on a terminal only, unless `NO_COLOR` is set."""
    click.echo(text)


def _show_run(run: StoredRun, limit: int | None, *, as_json: bool) -> None:
    story = RunStory(limit)
    reading = read_history(run, story.apply_record)
    lines, start = story.lines(), story.start
    if as_json:
        _write_document(log_document(reading, run) | {"left_out": story.left_out, "story": document(lines, start)})
        return
    _print(_format_head(reading, start))
    for text in story_lines(lines, start, text_width(PIPE_WIDTH)):
        _print(text)
    _print_end(reading)
    if story.left_out:
        _print(left_out(story.left_out, "sentence"))
    _print(f"\n  One CVM: orchestrator audit show {safe_text(run.run_id, 64)} --cvm NAME")


def _show_cvm(run: StoredRun, wanted: str, limit: int | None, *, as_json: bool) -> None:
    story = CvmStory(wanted)
    reading = read_history(run, story.apply_record)
    story.finish()
    if not story.chapters:
        raise no_cvm_error(wanted, story.names, run.location)
    if as_json:
        _write_document(cvm_document(story, reading, run, limit))
    else:
        print_cvm(story, reading, limit)


def no_cvm_error(wanted: str, names: Iterable[str], location: str) -> UsageError:
    """Build the error for a CVM without a record."""
    close = difflib.get_close_matches(wanted, sorted(names), n=3)
    hint = f"did you mean {', '.join(safe_text(name, 64) for name in close)}?" if close else None
    hint = hint or "give the name, the id or the UUID of a CVM"
    return UsageError(f"no CVM {safe_text(wanted, 64)!r} in this run", file=location, hint=hint)


def cvm_document(story: CvmStory, reading: Reading, run: StoredRun, limit: int | None) -> dict[str, Any]:
    """Build the document of `audit show --cvm --json`."""
    chapters: list[dict[str, Any]] = []
    for chapter in story.chapters:
        lines, more = cut(chapter.lines, limit)
        about = {"step": chapter.step, "action": chapter.action, "cvm": chapter.cvm, "outcome": chapter.outcome}
        chapters.append({**about, "left_out": more, "story": document(lines, story.start)})
    return log_document(reading, run) | {"cvms": chapters}


def print_cvm(story: CvmStory, reading: Reading, limit: int | None) -> None:
    """Print the story of a CVM."""
    _print(_format_head(reading, story.start))
    same = {str(chapter.cvm.get("id") or chapter.cvm.get("vm_uuid")) for chapter in story.chapters}
    if len(same) > 1:
        _print(f"{plural(len(same), 'CVM')} with this name; give an id to see one CVM only")
    width = text_width(PIPE_WIDTH)
    for chapter in story.chapters:
        _print("")
        for text in chapter_head(chapter, width):
            _print(text)
        lines, more = cut(chapter.lines, limit)
        for text in story_lines(lines, story.start, width):
            _print(text)
        if more:
            _print(left_out(more, "sentence"))
    _print_end(reading)


def _format_head(reading: Reading, start: str) -> str:
    return f"Run {safe_text(reading.chain.run_id, 64)}, {safe_text(start[:10], 10)}; times are UTC"


def _print_end(reading: Reading) -> None:
    if reading.verdict in _ENDS and not reading.finished:
        _print(f"  … {_ENDS[reading.verdict]}")


def log_document(reading: Reading, run: StoredRun) -> dict[str, Any]:
    """Describe a log for `audit show --json`."""
    return {
        "run_id": reading.chain.run_id or None,
        "audit_log": run.location,
        "verdict": reading.verdict.value,
        "records": reading.records,
    }


def _write_document(found: dict[str, Any]) -> None:
    write_document(found, partial(click.echo, nl=False))
