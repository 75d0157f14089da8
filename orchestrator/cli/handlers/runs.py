"""`orchestrator runs`."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from orchestrator.audit.store import RunStore
from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.reading import UnreadableLogs, with_progress
from orchestrator.history.filter import RunFilter
from orchestrator.history.index import Index
from orchestrator.history.logs import read_rows, select_named_within
from orchestrator.history.time_range import parse_time_range
from orchestrator.report.layout import Column, print_table
from orchestrator.report.run.listing import FleetLogs, describe_listed_run, find_run_state
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import load_settings
from orchestrator.settings.model import StoreSection
from orchestrator.text import safe_text
from orchestrator.times import format_clock, format_duration, parse_timestamp, timestamp, utc_now

if TYPE_CHECKING:
    from orchestrator.postgres.submissions import RunRow

_LONGEST_REASON = 200
_STYLES = {
    "finished": "green",
    "running": "cyan",
    "unfinished": "yellow",
    "altered": "red",
    "unreadable": "red",
    "not_sent": "dim",
    "refused": "red",
    "planning": "cyan",
    "waiting": "yellow",
    "left": "yellow",
    "simulated": "dim",
}


def list_runs(
    *,
    since: str | None,
    until: str | None,
    playbooks: tuple[str, ...],
    outcomes: tuple[str, ...],
    exit_codes: tuple[int, ...],
    fleet: str | None,
    limit: int,
    config: Path | None,
    assignments: tuple[str, ...],
    unfinished: bool,
    as_json: bool,
) -> None:
    """List runs, newest first, and the next command for unfinished runs."""
    choice = RunFilter(parse_time_range(since, until, utc_now()), playbooks, outcomes, exit_codes, fleet)
    settings = load_settings(config, assignments)
    store = run_store(settings)
    store.prepare()
    unreadable = UnreadableLogs()
    with Index(settings.audit.state_dir) as index, _open_submitted(settings.store) as submitted:
        fleets = FleetLogs(fleet_store(settings))
        begun = _select_runs(store, index, fleets, choice, unreadable, unfinished=unfinished)
        others = _select_submitted(submitted, choice, unfinished=unfinished)
        rows = merge(begun, others, key=lambda each: each[0]["run_id"], reverse=True) if submitted else begun
        found = list(islice(rows, limit + 1))
    unreadable.warn()
    if fleet is not None and not found:
        fleet_store(settings).find_fleet(fleet)  # an unknown id is an error
    is_cut = len(found) > limit
    del found[limit:]
    if as_json:
        click.echo(json.dumps([row for row, _ in found], indent=2))
    elif found:
        _print_runs(found, utc_now())
        if is_cut:
            click.echo(f"There are more runs; show them with --limit {2 * limit}.")
    else:
        such = " unfinished" if unfinished else ""
        chosen = " with these options" if choice != RunFilter() else ""
        click.echo(f"No{such} runs{chosen} in {safe_text(store.location, 4096)}.")


def _select_runs(
    store: RunStore, index: Index, fleets: FleetLogs, choice: RunFilter, unreadable: UnreadableLogs, *, unfinished: bool
) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """Yield the selected runs, with the number of targets at every stage."""
    for run, row in read_rows(with_progress(select_named_within(store.list_runs(), choice.time_range)), index):
        unreadable.count(row)
        if not choice.takes(row):
            continue
        state = find_run_state(row, run, fleets)
        if unfinished and state != "unfinished":
            continue
        yield describe_listed_run(row, run, fleets, state), row.get("stages") or {}


@contextmanager
def _open_submitted(store: StoreSection) -> Iterator[Iterator["RunRow"] | None]:
    """Open the list of the runs without a log in a team store; None over files."""
    if store.url is None:
        yield None
        return
    from orchestrator.postgres.connect import connect  # noqa: PLC0415 - only with a team store
    from orchestrator.postgres.submissions import list_without_log  # noqa: PLC0415 - the same

    with connect(store.url, listen=store.listen) as connection:
        yield list_without_log(connection)


def _select_submitted(
    runs: Iterable["RunRow"] | None, choice: RunFilter, *, unfinished: bool
) -> Iterator[tuple[dict[str, Any], dict[str, int]]]:
    """Yield the selected runs without a log, as `_select_runs`."""
    for run in runs or ():
        state = _find_submitted_state(run)
        listed: dict[str, Any] = {
            "run_id": run.run_id,
            "playbook": run.playbook,
            "actor": run.submitted_by,
            "started_at": timestamp(run.submitted_at),
            "last_record_at": None,
            "ended_at": None if run.finished_at is None else timestamp(run.finished_at),
            "state": state,
            "exit_code": run.exit_code,
            "counts": {},
            "audit_log": None,
            "next": None if state == "refused" else f"orchestrator watch {run.fleet_id or run.run_id}",
            "question": None,
            "simulated": False,
            "trigger": None,
            "restores": None,
            "workspace_name": run.workspace,
            "reason": run.reason,
            **({} if run.fleet_id is None else {"fleet": run.fleet_id}),
        }
        if choice.takes(listed) and (not unfinished or run.is_left):
            yield listed, {}


def _find_submitted_state(run: "RunRow") -> str:
    if run.finished_at is not None:
        return "refused"
    return "planning" if run.is_held else "left" if run.is_left else "waiting"


_COLUMNS = (
    Column("run"),
    Column("started", rank=4),
    Column("took", rank=2, right=True),
    Column("by", rank=3),
    Column("playbook"),
    Column("outcome", wraps=True),
)


def _print_runs(found: list[tuple[dict[str, Any], dict[str, int]]], now: datetime) -> None:
    is_named = any("workspace_name" in row for row, _ in found)
    columns = [*_COLUMNS[:4], *([Column("workspace")] if is_named else []), *_COLUMNS[4:]]
    rows: list[list[str | Text]] = [
        [
            Text(safe_text(row["run_id"])),
            f"{row['started_at'][:16].replace('T', ' ')}Z" if row["started_at"] else "-",
            _format_duration(row, now),
            f"schedule {safe_text(row['trigger'].get('schedule'), 40)}"
            if row["trigger"]
            else safe_text(row["actor"], 60),
            *([safe_text(row.get("workspace_name", "-"), 64)] if is_named else []),
            safe_text(row["playbook"]),
            _format_outcome(row, stages, now),
        ]
        for row, stages in found
    ]
    print_table(stdout_console(), columns, rows)
    commands = dict.fromkeys(row["next"] for row, _ in found if row["next"])
    if commands:
        click.echo("\n".join(("next commands:", *commands)))


def _format_duration(row: dict[str, Any], now: datetime) -> str:
    """Return the duration of a run; for a live run, the time since its start; `-` for a run without records."""
    if not row["started_at"] or not row["last_record_at"]:
        return "-"
    end = now if row["state"] == "running" else parse_timestamp(row["ended_at"] or row["last_record_at"])
    return format_duration(max(0, round((end - parse_timestamp(row["started_at"])).total_seconds())))


def _format_outcome(row: dict[str, Any], stages: dict[str, int], now: datetime) -> Text:
    """Describe the end of a run, or the current stages of its targets, in the words of `show`."""
    outcome = Text.assemble((row["state"], _STYLES.get(row["state"], "")))
    if row["exit_code"] is not None:
        outcome.append(f" ({row['exit_code']})", "dim")
    if row["question"] is not None:
        outcome.append(f", asks until {format_clock(parse_timestamp(row['question']['expires_at']), now)}", "yellow")
    if row.get("reason"):
        outcome.append(f": {safe_text(row['reason'], _LONGEST_REASON)}")
    counts = row["counts"] if row["state"] == "finished" else stages
    return outcome.append("".join(f", {number} {name}" for name, number in counts.items()))
