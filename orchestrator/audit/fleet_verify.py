"""The agreement of a fleet log with the logs of its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.replay import RunState


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A difference between a fleet log and the log of a run.

    Attributes:
        workspace: the workspace of the run.
        run_id: the run.
        reason: the difference, as a sentence.
    """

    workspace: str
    run_id: str
    reason: str

    def document(self) -> dict[str, str]:
        """Build the entry of `audit verify --json`."""
        return {"workspace": self.workspace, "run_id": self.run_id, "reason": self.reason}


def find_disagreements(fleet: FleetState, runs: Mapping[str, RunState | None]) -> Iterator[Disagreement]:
    """Compare a fleet log with the logs of its runs.

    Args:
        fleet: the replayed state of the fleet log.
        runs: the replayed state of every run, by run id; None for a missing log. A pruned run is not in the mapping.
    """
    hashes = {} if fleet.finished is None else {run.run_id: run.hash for run in fleet.finished.runs}
    for entry in fleet.runs:
        if entry.run_id not in runs:
            continue
        reason = _find_difference(fleet, entry.run_id, runs[entry.run_id], hashes.get(entry.run_id))
        if reason is not None:
            yield Disagreement(entry.workspace, entry.run_id, reason)


def _find_difference(fleet: FleetState, run_id: str, run: RunState | None, expected: str | None) -> str | None:
    if run is None:
        return "the log is missing"
    if run.started.record.get("fleet") != fleet.fleet_id:
        return "the log belongs to another fleet run, or to none"
    if run.run_id != run_id:
        return "the log is the log of another run"
    if fleet.finished is None:
        return None
    if run.finished is None:
        return "the fleet run is finished, but the log has no end"
    if run.finished.hash != expected:
        return "the end of the run is not the end on record in the fleet log"
    return None
