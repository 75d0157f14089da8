"""Unattended fleet runs: the firings of a playbook in several workspaces."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.store import read_run
from orchestrator.audit.verify import Verdict
from orchestrator.engine.result import RunResult
from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.execute import explain_early_end
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.execute import carry_out_fleet, carry_out_member
from orchestrator.runs.fleet.members import limits_of_members, open_sessions, read_members
from orchestrator.runs.fleet.plan import FleetPlan, WorkspaceRequest, plan_fleet
from orchestrator.runs.fleet.resume import claim_open_runs, plan_fleet_resume, record_fleet_resume, reopen_fleet
from orchestrator.runs.fleet.start import OpenFleet, OpenMember, start_fleet
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.session import Session
from orchestrator.runs.start import RunRequest
from orchestrator.runs.status import Ended, RunStatus, State, StopRequest
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.runs.unattended import INTERRUPTED, ObserveRun, build_request, read_run_status, run_unless, trigger_of
from orchestrator.settings.load import Settings
from orchestrator.times import parse_timestamp

_MOST_NAMED = 5


class UnattendedFleetRunner:
    """Carries the fleet runs of firings out in this process, with a connection to the cloud of every workspace."""

    def __init__(self, settings: Settings, observe: ObserveRun, keeps: KeepReader | None = None) -> None:
        """Set up.

        Args:
            settings: the settings, with all workspaces.
            observe: returns the observer for the run of a workspace.
            keeps: reads the exemptions; None for a reader of its own.
        """
        self._settings, self._observe = settings, observe
        self._store, self._fleets = run_store(settings), fleet_store(settings)
        self._keeps = keeps or KeepReader(keeps_last=True)

    def read_status(self, fleet_id: str) -> RunStatus:
        """Return the status of a fleet run from its log and the logs of its runs."""
        try:
            return self._read_status(fleet_id)
        except FileNotFoundError:
            return RunStatus(State.NOTHING_SENT)
        except OSError:
            return RunStatus(State.UNREADABLE)

    def _read_status(self, fleet_id: str) -> RunStatus:
        stored = self._fleets.get_fleet(fleet_id)
        if stored.is_locked():
            return RunStatus(State.HELD)
        state = FleetState()
        if read_run(stored, state.apply_record).verdict is Verdict.ALTERED:
            return RunStatus(State.ALTERED)
        runs = () if state.finished is not None else state.runs
        return decide_fleet_status(state, [read_run_status(self._store.get_run(run.run_id)) for run in runs])

    async def start(
        self, claim: FiringClaim, loaded: LoadedPlaybook, names: tuple[str, ...], stop: StopRequest
    ) -> Ended:
        """Plan a fleet run in these workspaces, and carry the plan out if the guards pass.

        Raises:
            OrchestratorError: when the fleet run does not begin.
        """
        # A command or a slow disk may take seconds; other runs go on meanwhile.
        members = await anyio.to_thread.run_sync(read_members, self._settings, names)
        limits = limits_of_members(members, loaded)
        # The ids of the runs are made at the start of the fleet run.
        requests = {
            each.name: replace(build_request(claim, loaded, each.settings), run_id=None, limits=limits[each.name])
            for each in members
        }
        loaded = next(iter(requests.values())).loaded
        async with open_sessions(members, limits, partial(self._observe, claim), keeps=self._keeps) as sessions:
            opened = await run_unless(stop, partial(self._plan_and_start, claim, loaded, sessions, requests))
            return INTERRUPTED if opened is None else await _carry_out(opened, stop)

    async def _plan_and_start(
        self,
        claim: FiringClaim,
        loaded: LoadedPlaybook,
        sessions: Mapping[str, Session],
        requests: Mapping[str, RunRequest],
    ) -> OpenFleet:
        """Plan a fleet run, and begin all logs. The schedule is the confirmation."""

        async def confirm(_: FleetPlan) -> bool:
            return True

        orders = [WorkspaceRequest(name, session, requests[name]) for name, session in sessions.items()]
        plan = await plan_fleet(loaded, orders, base_guards=self._settings.guards)
        about = {"trigger": trigger_of(claim)}
        return await start_fleet(self._fleets, plan, confirm, fleet_id=claim.run_id, about=about)

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Resume a fleet run from its logs.

        Raises:
            OrchestratorError: when the fleet run does not continue.
        """
        with reopen_fleet(self._fleets.get_fleet(claim.run_id), self._store) as fleet:
            if fleet.state.finished is not None:  # another process was quicker
                return Ended(int(fleet.state.finished.exit_code))
            members = await anyio.to_thread.run_sync(fleet.read_members, self._settings)
            applied = fleet.apply_settings(members)
            limits = {name: each.limits for name, each in applied.items()}
            with claim_open_runs(fleet, self._settings) as claims:
                async with open_sessions(members, limits, partial(self._observe, claim), keeps=self._keeps) as sessions:
                    plan = await run_unless(stop, partial(plan_fleet_resume, fleet, sessions, applied, claims))
                    if plan is None:
                        return INTERRUPTED
                    plan.report_warnings()
                    return await _carry_out(await record_fleet_resume(plan), stop)


def decide_fleet_status(state: FleetState, runs: Iterable[RunStatus]) -> RunStatus:
    """Return the status of a fleet run.

    Args:
        state: the replayed fleet log.
        runs: the status of every run of an unfinished fleet run.
    """
    if not state.has_plan:
        return RunStatus(State.VOID)
    if state.finished is not None:
        return RunStatus(State.FINISHED, parse_timestamp(state.last_ts), int(state.finished.exit_code))
    runs = tuple(runs)
    found = {run.state for run in runs}
    if State.HELD in found:
        return RunStatus(State.HELD)
    if State.ALTERED in found:
        return RunStatus(State.ALTERED)
    if not found <= {State.UNFINISHED, State.FINISHED}:
        return RunStatus(State.UNREADABLE)  # every run has a durable plan, so a log was lost
    times = [run.last_at for run in runs if run.last_at is not None]
    return RunStatus(State.UNFINISHED, max([parse_timestamp(state.last_ts), *times]))


async def _carry_out(opened: OpenFleet, stop: StopRequest) -> Ended:
    reasons: list[str] = []

    async def carry(member: OpenMember, stop_member: StopRequest) -> RunResult | None:
        """Carry out one run; keep the reason of its early end."""
        result = await carry_out_member(member, stop_member)
        assert member.session is not None  # noqa: S101 - it was carried out
        assert member.opened is not None  # noqa: S101 - the same
        error = explain_early_end(result, member.opened.log, member.session.endpoint)
        if error is not None:
            reasons.append(f"workspace {member.name}: {error.message}")
        return result

    result = await carry_out_fleet(opened, stop, carry)
    more = [f"and {len(reasons) - _MOST_NAMED} more workspaces"] if len(reasons) > _MOST_NAMED else []
    hint = [] if result.has_finished else [f"continue with `orchestrator resume {opened.fleet_id}`"]
    return Ended(
        int(result.exit_code),
        interrupted=result.ending in {Ending.SIGINT, Ending.SIGTERM},
        reason="; ".join([*reasons[:_MOST_NAMED], *more, *hint]) if reasons else None,
    )
