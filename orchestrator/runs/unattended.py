"""Unattended runs: no terminal, no question, no own signal handlers. The guards hold all the same.

A firing in several workspaces is a fleet run under the id of a fleet run; `FleetRunner` carries the fleet run out.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, read_run
from orchestrator.audit.verify import Verdict
from orchestrator.errors import ClaimedError, OrchestratorError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.runs.claims import claim_again
from orchestrator.runs.execute import carry_out, explain_early_end
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.notifications import notify_refusal
from orchestrator.runs.resume import reopen_run, report_warnings
from orchestrator.runs.session import Endpoint, RunObserver, Session, limits_of, open_session
from orchestrator.runs.start import Confirm, OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.status import Ended, RunStatus, State, StopRequest
from orchestrator.runs.stores import claim_store, run_store
from orchestrator.runs.workspaces import choose_names, choose_settings, settings_of_run
from orchestrator.settings.load import Settings
from orchestrator.times import parse_timestamp, timestamp

_T = TypeVar("_T")
_POLL_EVERY_S = 1.0
INTERRUPTED = Ended(int(Exit.SIGTERM), interrupted=True)
"""The end of a firing stopped before its first request, or while the firing waited."""

ObserveRun = Callable[[FiringClaim, str | None], RunObserver]
"""Returns the observer for a run of a firing, by the name of the workspace; None for the default key."""


class FleetRunner(Protocol):
    """Carries out the firings in several workspaces."""

    def read_status(self, fleet_id: str) -> RunStatus:
        """Return the status of a fleet run from its log and the logs of its runs."""
        ...

    async def start(
        self, claim: FiringClaim, loaded: LoadedPlaybook, names: tuple[str, ...], stop: StopRequest
    ) -> Ended:
        """Plan a fleet run in these workspaces, and carry the plan out if the guards pass.

        Raises:
            OrchestratorError: when the fleet run does not begin.
        """
        ...

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Resume a fleet run from its logs.

        Raises:
            OrchestratorError: when the fleet run does not continue.
        """
        ...


class UnattendedRunner:
    """Carries the runs of firings out in this process, with a connection to the cloud for every run."""

    def __init__(
        self, settings: Settings, observe: ObserveRun, fleets: FleetRunner, keeps: KeepReader | None = None
    ) -> None:
        """Set up.

        Args:
            settings: the settings.
            observe: returns the observer for a run of a firing.
            fleets: carries out the firings in several workspaces.
            keeps: reads the exemptions; None for a reader of its own.
        """
        self._settings, self._observe, self._fleets = settings, observe, fleets
        self._store, self._claims = run_store(settings), claim_store(settings)
        self._notified_runs: set[str] = set()
        self._keeps = keeps or KeepReader(keeps_last=True)

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        """Return True if a firing of the playbook acts in several workspaces; False also for an unknown workspace."""
        try:
            return len(choose_names(self._settings, (), loaded.playbook.workspaces)) > 1
        except OrchestratorError:
            return False

    async def read_status(self, run_id: str) -> RunStatus:
        """Return the status of a run or of a fleet run from the logs."""
        return self._fleets.read_status(run_id) if is_fleet_id(run_id) else read_run_status(self._store.get_run(run_id))

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: StopRequest) -> Ended:
        """Plan a run, and carry the plan out if the guards pass."""
        settings = self._settings
        try:
            if is_fleet_id(claim.run_id):
                names = choose_names(settings, (), loaded.playbook.workspaces)
                return await self._fleets.start(claim, loaded, names, stop)
            settings = choose_settings(settings, loaded.playbook.workspaces)
            request = build_request(claim, loaded, settings)
            async with self._open_session(claim, settings, request.limits) as session:
                opened = await run_unless(stop, partial(plan_and_start, session, request))
                if opened is None:
                    return INTERRUPTED
                return await _carry_out(session, opened, stop)
        except ClaimedError as error:
            return await self._wait_for_others(claim, error, stop)
        except OrchestratorError as error:
            return await self._notify_refusal(claim, settings, loaded, error)

    async def _wait_for_others(self, claim: FiringClaim, error: ClaimedError, stop: StopRequest) -> Ended:
        """Wait until no live run acts on the same CVMs; the run is then planned again."""
        facts = {"run_id": claim.run_id, "playbook": claim.playbook, "reason": str(error)}
        self._observe(claim, None).on_warning("waiting_for_run", **facts)
        while True:
            with anyio.move_on_after(_POLL_EVERY_S):
                await stop.requested.wait()
                return INTERRUPTED
            if not self._claims.is_any_live(error.run_ids):
                return Ended(int(error.exit_code), reason=str(error), waits=True)

    async def _notify_refusal(
        self, claim: FiringClaim, settings: Settings, loaded: LoadedPlaybook, error: OrchestratorError
    ) -> Ended:
        """Send a notice about a refused firing: only once, however often the firing is retried."""
        if claim.run_id not in self._notified_runs:
            self._notified_runs.add(claim.run_id)
            observer, url = self._observe(claim, settings.workspace_name), settings.find_base_url()
            await notify_refusal(settings, loaded, error, url, observer, number=claim.run_id)
        return _refusal(error)

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Resume a run or a fleet run from the logs."""
        try:
            if is_fleet_id(claim.run_id):
                return await self._fleets.resume(claim, stop)
            with reopen_run(self._store.get_run(claim.run_id)) as reopened:
                state = reopened.state
                if state.finished is not None:  # another process was quicker
                    return Ended(int(state.finished.exit_code))
                settings = settings_of_run(self._settings, state)
                applied = reopened.apply_settings(settings)
                with claim_again(self._claims, state, ignore_running=False) as held:
                    async with self._open_session(claim, settings, applied.limits, state.started.cloud_url) as session:
                        plan = await run_unless(stop, partial(reopened.plan, session, applied, held))
                        if plan is None:
                            return INTERRUPTED
                        report_warnings(plan, session.observer, claim.run_id)
                        return await _carry_out(session, await reopened.record_resume(session, plan, held), stop)
        except ClaimedError as error:
            return await self._wait_for_others(claim, error, stop)
        except OrchestratorError as error:
            return _refusal(error)

    @asynccontextmanager
    async def _open_session(
        self, claim: FiringClaim, settings: Settings, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        """Open a connection to the cloud; every connection reads the key anew."""
        # A command may take seconds to print the key; other runs go on meanwhile.
        where = await anyio.to_thread.run_sync(Endpoint.from_settings, settings)
        if cloud_url is not None:
            where.require_url(cloud_url)
        observer = self._observe(claim, settings.workspace_name)
        async with open_session(settings, where, limits, observer, keeps=self._keeps) as session:
            yield session


def build_request(claim: FiringClaim, loaded: LoadedPlaybook, settings: Settings) -> RunRequest:
    """Build the request for the run of a firing, or for a wake.

    Raises:
        PlaybookError: when the firing is a wake, and the playbook has no `wake`.
    """
    origin = {"trigger": trigger_of(claim)}
    if claim.wakes is None:
        limits = limits_of(loaded.playbook.limits, settings)
        return RunRequest(loaded, limits, origin_fields=origin, run_id=claim.run_id)
    from orchestrator.runs.wake import request_wake  # noqa: PLC0415 - few playbooks have a wake

    return replace(request_wake(loaded, settings), origin_fields=origin, run_id=claim.run_id)


def trigger_of(claim: FiringClaim) -> dict[str, str]:
    """Build `trigger` of the first record of a log: the schedule and the times of the firing."""
    return {"schedule": claim.playbook, "planned": timestamp(claim.planned), "moment": timestamp(claim.moment)}


def read_run_status(run: StoredRun) -> RunStatus:
    """Return the status of a run from its audit log."""
    try:
        return _read_run_status(run)
    except FileNotFoundError:
        return RunStatus(State.NOTHING_SENT)
    except OSError:
        return RunStatus(State.UNREADABLE)


def _read_run_status(run: StoredRun) -> RunStatus:
    if run.is_locked():
        return RunStatus(State.HELD)
    state = RunState()
    if read_run(run, state.apply_record).verdict is Verdict.ALTERED:
        return RunStatus(State.ALTERED)
    if not state.has_plan:
        return RunStatus(State.VOID)
    last_at = parse_timestamp(state.last_ts)
    if state.finished is not None:
        return RunStatus(State.FINISHED, last_at, int(state.finished.exit_code))
    return RunStatus(State.UNFINISHED, last_at)


async def _agree(_: Plan) -> bool:
    return True


async def plan_and_start(session: Session, request: RunRequest, confirm: Confirm = _agree) -> OpenRun:
    """Plan a run, and begin its log. By default the schedule is the confirmation."""
    return await start_run(session, request, await plan_request(session, request), confirm)


async def _carry_out(session: Session, opened: OpenRun, stop: StopRequest) -> Ended:
    result = await carry_out(session, opened, stop)
    why = explain_early_end(result, opened.log, session.endpoint)
    return Ended(
        int(result.exit_code),
        interrupted=result.ending in {Ending.SIGINT, Ending.SIGTERM},
        reason=None if why is None else _error_text(why),
    )


async def run_unless(stop: StopRequest, do: Callable[[], Coroutine[Any, Any, _T]]) -> _T | None:
    """Return the result of a task; None for a task stopped before its end."""
    result: _T | None = None

    async def watch(scope: anyio.CancelScope) -> None:
        """Cancel the task at the request to stop."""
        await stop.requested.wait()
        scope.cancel()

    error: OrchestratorError | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        try:
            result = await do()
        except OrchestratorError as found:  # else the task group would wrap the error in an exception group
            error = found
        group.cancel_scope.cancel()
    if error is not None:
        raise error
    return result


def _refusal(error: OrchestratorError) -> Ended:
    return Ended(int(error.exit_code), reason=_error_text(error))


def _error_text(error: OrchestratorError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
