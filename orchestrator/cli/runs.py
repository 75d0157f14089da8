"""`orchestrator runs`."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, is_held
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.cli.consoles import stdout
from orchestrator.report.documents import counts_of
from orchestrator.report.shown import shown
from orchestrator.settings.load import load_settings

_STYLES = {
    "finished": "green",
    "running": "cyan",
    "unfinished": "yellow",
    "altered": "red",
    "not_sent": "dim",
    "simulated": "dim",
}


def runs(
    limit: int,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    unfinished: bool,
    as_json: bool,
) -> None:
    """List runs, newest first, and what to type for those that are not finished."""
    settings = load_settings(config, assignments)
    store = RunStore(settings.audit.state_dir)
    store.prepare()
    rows: list[dict[str, Any]] = []
    for path in store:
        row = _row(path)
        if not unfinished or row["state"] == "unfinished":
            rows.append(row)
        if len(rows) == limit:
            break
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _print(rows)
    else:
        click.echo(f"There are no{' unfinished' if unfinished else ''} runs in {store.folder}.")


def _row(path: Path) -> dict[str, Any]:
    state = RunState()
    altered = read_log(path, state.apply).verdict is Verdict.ALTERED
    if altered:
        state = RunState()
    standing = "altered" if altered else _standing(state, path)
    return {
        "run_id": path.stem,
        "playbook": (state.started.get("playbook") or {}).get("name"),
        "actor": state.started.get("actor"),
        "started_at": state.started.get("ts"),
        "last_record_at": state.last_ts or None,
        "state": standing,
        "exit_code": state.finished["exit_code"] if state.finished else None,
        "counts": counts_of(state),
        "audit_log": str(path),
        "next": f"orchestrator resume {path.stem}" if standing == "unfinished" else None,
    }


def _standing(state: RunState, path: Path) -> str:
    if state.finished is not None:
        return "finished"
    if is_held(path):
        return "running"
    if not state.planned:
        return "not_sent"
    return "simulated" if state.simulated else "unfinished"


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("run", "playbook", "state", "outcomes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        counts = ", ".join(f"{number} {outcome}" for outcome, number in row["counts"].items())
        standing = Text(row["state"], _STYLES.get(row["state"], ""))
        if row["exit_code"] is not None:
            standing.append(f" ({row['exit_code']})", "dim")
        table.add_row(row["run_id"], Text(shown(row["playbook"])), standing, Text(row["next"] or counts))
    stdout().print(table)
