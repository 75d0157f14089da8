"""`orchestrator restore FLEET_ID`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cli.handlers.fleet.run import FleetCommand, run_fleet
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.report.layout import moment
from orchestrator.runs.fleet.plan import WorkspaceRequest
from orchestrator.runs.fleet.restore import FleetUndo, read_fleet_undo
from orchestrator.runs.session import Session
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import load_settings
from orchestrator.text import plural, safe_text


@dataclass(frozen=True, slots=True)
class _UndoRequest:
    """The undo of a fleet run, as the request for a fleet run."""

    undo: FleetUndo
    ignore_running: bool

    @property
    def loaded(self) -> LoadedPlaybook:
        """The playbook of the undo."""
        return self.undo.loaded

    def list_requests(self, sessions: Mapping[str, Session]) -> tuple[WorkspaceRequest, ...]:
        """List the undo of every run."""
        return self.undo.list_requests(sessions, ignore_running=self.ignore_running)


def restore_fleet(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    expect: int | None,
    *,
    yes: bool,
    ignore_running: bool,
    as_json: bool,
) -> int:
    """Start the CVMs taken from running to down by a fleet run, unless changed since."""
    settings = load_settings(config, assignments)
    undo = read_fleet_undo(fleet_store(settings).find_fleet(run_id), run_store(settings))
    command = FleetCommand(
        _UndoRequest(undo, ignore_running),
        (),
        yes,
        expect,
        as_json,
        origin=_describe_origin(undo),
        about={"restores": undo.state.fleet_id},
    )
    return run_fleet(settings, undo.names, command)


def _describe_origin(undo: FleetUndo) -> str:
    started = undo.state.started
    stopped = sum(len(member.undo.targets) for member in undo.members)
    return (
        f"Undo of {safe_text(undo.state.fleet_id)}, started {safe_text(moment(started.ts))} "
        f"by {safe_text(started.actor)}; the fleet run stopped {plural(stopped, 'running CVM')} "
        f"in {plural(len(undo.members), 'workspace')}\n"
    )
