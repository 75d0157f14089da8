"""`orchestrator runs`."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from orchestrator.audit.store import RunStore, is_held
from orchestrator.cli.consoles import stdout
from orchestrator.cli.reading import told
from orchestrator.history.choice import Choice
from orchestrator.history.index import Index
from orchestrator.history.logs import named_within, rows
from orchestrator.history.stretch import stretch
from orchestrator.moment import parse_timestamp, utc_now
from orchestrator.report.question_text import clock
from orchestrator.report.shown import shown
from orchestrator.settings.load import load_settings

_STYLES = {
    "finished": "green",
    "running": "cyan",
    "unfinished": "yellow",
    "altered": "red",
    "unreadable": "red",
    "not_sent": "dim",
    "simulated": "dim",
}


def runs(
    *,
    since: str | None,
    until: str | None,
    playbooks: tuple[str, ...],
    outcomes: tuple[str, ...],
    exit_codes: tuple[int, ...],
    limit: int,
    config: Path | None,
    assignments: tuple[str, ...],
    unfinished: bool,
    as_json: bool,
) -> None:
    """List runs, newest first, and what to type for those that are not finished."""
    choice = Choice(stretch(since, until, utc_now()), playbooks, outcomes, exit_codes)
    settings = load_settings(config, assignments)
    store = RunStore(settings.audit.state_dir)
    store.prepare()
    with Index(settings.audit.state_dir) as index:
        found = list(islice(_chosen(store, index, choice, unfinished=unfinished), limit + 1))
    is_cut = len(found) > limit
    del found[limit:]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        _print(found)
        if is_cut:
            click.echo(f"There are more; --limit {2 * limit} shows more of them.")
    else:
        such = " unfinished" if unfinished else ""
        chosen = " of that choice" if choice != Choice() else ""
        click.echo(f"There are no{such} runs{chosen} in {shown(store.folder, 4096)}.")


def _chosen(store: RunStore, index: Index, choice: Choice, *, unfinished: bool) -> Iterator[dict[str, Any]]:
    for path, row in rows(told(named_within(store, choice.stretch)), index):
        if not choice.takes(row):
            continue
        standing = _standing(row, path)
        if unfinished and standing != "unfinished":
            continue
        yield {
            "run_id": path.stem,
            "playbook": row.get("playbook"),
            "actor": row.get("actor"),
            "started_at": row.get("started_at"),
            "last_record_at": row.get("last_record_at"),
            "state": standing,
            "exit_code": row.get("exit_code"),
            "counts": row["counts"],
            "audit_log": str(path),
            "next": _next(row, standing, path.stem),
            "question": row.get("question") if standing == "running" else None,
            "simulated": bool(row.get("simulated")),
            "trigger": row.get("trigger"),
            "restores": row.get("restores"),
        }


def _standing(row: dict[str, Any], path: Path) -> str:
    if row["verdict"] in {"altered", "unreadable"}:
        return str(row["verdict"])
    if row["exit_code"] is not None:
        return "finished"
    try:
        if is_held(path):
            return "running"
    except OSError:
        return "unreadable"
    if not row["planned"]:
        return "not_sent"
    return "simulated" if row["simulated"] else "unfinished"


def _next(row: dict[str, Any], standing: str, run_id: str) -> str | None:
    """What to type next."""
    if standing == "unfinished":
        return f"orchestrator resume {run_id}"
    return f"orchestrator approve {run_id}" if standing == "running" and row.get("question") else None


def _print(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("run", "playbook", "state", "outcomes"):
        table.add_column(column, overflow="fold")
    for row in found:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in row["counts"].items())
        standing = Text(row["state"], _STYLES.get(row["state"], ""))
        if row["exit_code"] is not None:
            standing.append(f" ({row['exit_code']})", "dim")
        if row["question"] is not None:
            standing.append(
                f", asks until {clock(parse_timestamp(row['question']['expires_at']), utc_now())}", "yellow"
            )
        table.add_row(shown(row["run_id"]), Text(shown(row["playbook"])), standing, Text(row["next"] or counts))
    stdout().print(table)
