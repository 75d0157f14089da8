"""The rows of a list of runs: state, outcome, open question and next command of each run."""

from collections.abc import Mapping
from typing import Any

from orchestrator.audit.fleet_store import FleetStore, is_void
from orchestrator.audit.store import StoredRun
from orchestrator.report.phrases import abandon_command


class FleetLogs:
    """The logs of fleet runs, for the states of unfinished runs; every log is read once."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._void: dict[str, bool] = {}

    def is_void(self, row: Mapping[str, Any]) -> bool:
        """Check for an unfinished run of a fleet run without a plan."""
        fleet_id = row.get("fleet")
        if fleet_id is None or row["exit_code"] is not None:
            return False
        if fleet_id not in self._void:
            self._void[fleet_id] = is_void(self._store.get_fleet(fleet_id))
        return self._void[fleet_id]


def find_run_state(row: Mapping[str, Any], run: StoredRun, fleets: FleetLogs) -> str:
    """Find the state of a run: `finished`, `running`, `unfinished`, `not_sent`, `simulated`, `altered`, `unreadable`.

    Args:
        row: the row of the run's index entry.
        run: the run.
        fleets: the logs of fleet runs.
    """
    if row["verdict"] in {"altered", "unreadable"}:
        return str(row["verdict"])
    if row["exit_code"] is not None:
        return "finished"
    try:
        if run.is_locked():
            return "running"
    except OSError:
        return "unreadable"
    if not row["planned"] or fleets.is_void(row):
        return "not_sent"
    return "simulated" if row["cloud_ended"] else "unfinished"


def describe_listed_run(row: Mapping[str, Any], run: StoredRun, fleets: FleetLogs, state: str) -> dict[str, Any]:
    """Build the entry of `runs --json`.

    Args:
        row: the row of the run's index entry.
        run: the run.
        fleets: the logs of fleet runs.
        state: the result of `find_run_state`.
    """
    listed = {
        "run_id": run.run_id,
        "playbook": row.get("playbook"),
        "actor": row.get("actor"),
        "started_at": row.get("started_at"),
        "last_record_at": row.get("last_record_at"),
        "ended_at": row.get("ended_at"),
        "state": state,
        "exit_code": row.get("exit_code"),
        "counts": row["counts"],
        "audit_log": run.location,
        "next": _find_next_command(row, state, run.run_id, fleets),
        "question": row.get("question") if state == "running" else None,
        "simulated": bool(row.get("simulated")),
        "trigger": row.get("trigger"),
        "restores": row.get("restores"),
    }
    if row.get("workspace_name") is not None:
        listed["workspace_name"] = row["workspace_name"]
    if row.get("fleet") is not None:
        listed["fleet"] = row["fleet"]
    return listed


def _find_next_command(row: Mapping[str, Any], state: str, run_id: str, fleets: FleetLogs) -> str | None:
    """Return the next command to type."""
    if state == "not_sent" and row["planned"] and fleets.is_void(row):
        return abandon_command(row["fleet"])
    if state == "unfinished":
        return f"orchestrator resume {row.get('fleet') or run_id}"
    return f"orchestrator approve {run_id}" if state == "running" and row.get("question") else None
