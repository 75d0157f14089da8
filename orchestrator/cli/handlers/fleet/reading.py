"""The logs of a fleet run: the fleet log, and the log of every run."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_sound_run
from orchestrator.cli.handlers.show import find_exit_code
from orchestrator.outcome import Exit
from orchestrator.report.fleet.totals import FleetOutcome, WorkspaceRun
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings


@dataclass(frozen=True, slots=True)
class StoredFleet:
    """A fleet run in the state folder.

    Attributes:
        stored: the fleet log.
        state: the replayed state of the fleet log.
        runs: the log of every workspace's run, with the name of the workspace.
    """

    stored: StoredRun
    state: FleetState
    runs: tuple[tuple[str, StoredRun], ...]


def read_fleet(settings: Settings, name: str) -> StoredFleet:
    """Read the fleet log, and find the logs of its runs.

    Raises:
        UsageError: when there is no such fleet run, or when its log can't be read.
        AlteredError: when the fleet log was altered.
    """
    stored = fleet_store(settings).find_fleet(name)
    state = FleetState(stored.run_id)
    read_sound_run(stored, state.apply_record)
    store = run_store(settings)
    return StoredFleet(stored, state, tuple((run.workspace, store.get_run(run.run_id)) for run in state.runs))


def read_outcome(found: StoredFleet) -> FleetOutcome:
    """Read the outcome of a fleet run from all its logs.

    Raises:
        UsageError: when a log can't be read.
        AlteredError: when a log was altered.
    """
    state = found.state
    is_live = state.finished is None and found.stored.is_locked()
    code = None if is_live else _find_fleet_code(state)
    return describe_outcome(state, tuple(_read_runs(found)), code, found.stored.location)


def describe_outcome(
    state: FleetState, runs: tuple[WorkspaceRun, ...], code: int | None, location: str
) -> FleetOutcome:
    """Describe the outcome of a fleet run.

    Args:
        state: the replayed state of the fleet log.
        runs: the run of every workspace.
        code: the exit code; None while a process carries the fleet run out.
        location: the place of the fleet log.
    """
    return FleetOutcome(
        state.fleet_id,
        runs,
        code,
        location,
        str(state.started.playbook.get("name") or ""),
        state.left_out,
        state.planned.guards,
        is_unfinished=state.finished is None and state.has_plan,
        is_void=state.finished is None and not state.has_plan,
    )


def _read_runs(found: StoredFleet) -> Iterator[WorkspaceRun]:
    for workspace, run in found.runs:
        state = RunState()
        read_sound_run(run, state.apply_record)
        is_open = state.finished is None
        code = None if is_open and run.is_locked() else find_exit_code(state)
        yield WorkspaceRun(workspace, state, code, run.location, is_unfinished=is_open)


def _find_fleet_code(state: FleetState) -> int:
    """Return the exit code of a fleet run; for a fleet run without an end, the exit code of an interrupted run."""
    if state.finished is not None:
        return state.finished.exit_code
    if state.interrupted is not None and state.interrupted.exit_code is not None:
        return state.interrupted.exit_code
    return int(Exit.SIGINT)
