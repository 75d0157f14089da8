"""The undo of a fleet run: a new fleet run, with the undo of every run."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import is_void, void_error
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, StoredRun, read_sound_run
from orchestrator.errors import NoMatchError, UsageError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.undo import Undo
from orchestrator.runs.fleet.plan import WorkspaceRequest
from orchestrator.runs.restore import playbook_of, read_undo, refuse_unfinished, request_undo
from orchestrator.runs.session import Session
from orchestrator.runs.workspaces import name_errors


@dataclass(frozen=True, slots=True)
class MemberUndo:
    """The undo of one workspace's run.

    Attributes:
        name: the workspace.
        run: the run to undo.
        undo: the CVMs to start.
        state: the replayed log of the run.
    """

    name: str
    run: StoredRun
    undo: Undo
    state: RunState


@dataclass(frozen=True, slots=True)
class FleetUndo:
    """The undo of a fleet run.

    Attributes:
        state: the replayed fleet log.
        loaded: the playbook of the undo as a whole.
        members: the undo of every run with CVMs to start, in the order of the settings.
    """

    state: FleetState
    loaded: LoadedPlaybook
    members: tuple[MemberUndo, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The workspaces with CVMs to start."""
        return tuple(member.name for member in self.members)

    def list_requests(
        self, sessions: Mapping[str, Session], *, ignore_running: bool = False
    ) -> tuple[WorkspaceRequest, ...]:
        """List the requests for `plan_fleet`; `start_fleet` then takes `restores=` with the id of the fleet run.

        Args:
            sessions: the connection to the cloud, by workspace.
            ignore_running: whether to act on CVMs claimed by another run.

        Raises:
            UsageError: when the address of a workspace is not the address of its run.
        """
        requests = []
        for each in self.members:
            session = sessions[each.name]
            with name_errors(each.name):
                session.endpoint.require_url(each.state.started.cloud_url)
            request = request_undo(each.undo, each.state, each.run, session.settings, ignore_running=ignore_running)
            requests.append(WorkspaceRequest(each.name, session, request))
        return tuple(requests)


def read_fleet_undo(fleet: StoredRun, store: RunStore) -> FleetUndo:
    """Read the CVMs to start from the logs of a finished fleet run.

    Args:
        fleet: the fleet run.
        store: the store of runs.

    Raises:
        SettingsError: when a log can't be read, or was altered.
        UsageError: when the fleet run is unfinished.
        RunHeldError: when another process carries the fleet run out.
        NoMatchError: when the fleet run took no CVM from running to down.
    """
    state = FleetState(fleet.run_id)
    read_sound_run(fleet, state.apply_record, "an altered log does not prove which CVMs to start")
    if is_void(fleet):
        raise void_error(fleet, UsageError)
    if state.finished is None:
        refuse_unfinished(fleet, state.fleet_id, "fleet run")
    members = []
    for planned in state.runs:
        run = store.get_run(planned.run_id)
        with name_errors(planned.workspace):
            try:
                undo, run_state = read_undo(run)
            except NoMatchError:  # this run stopped nothing
                continue
        members.append(MemberUndo(planned.workspace, run, undo, run_state))
    if not members:
        raise NoMatchError("the fleet run stopped no running CVM", file=fleet.location, hint="there is nothing to undo")
    return FleetUndo(state, playbook_of(Undo(state.fleet_id, ()), fleet), tuple(members))
