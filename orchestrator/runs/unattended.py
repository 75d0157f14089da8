"""Unattended runs: no terminal, no question, no own signal handlers. The guards hold all the same."""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import structlog

from orchestrator.audit import claims
from orchestrator.audit.claims import Claims
from orchestrator.audit.log import AuditLog
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import RunStore, is_held
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.engine.job import Job
from orchestrator.engine.observed_cloud import ObservedCloud
from orchestrator.engine.read.status import Observation
from orchestrator.errors import ClaimedError, OrchestratorError
from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.reply import Reply
from orchestrator.runs.claims import claim_again, claim_cvms, read_what_others_changed, wait_for_statuses
from orchestrator.runs.endpoint import endpoint
from orchestrator.runs.event_log import log_record
from orchestrator.runs.execute import carry_to_end, explain_early_end, prepare_run
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.frozen import apply_settings
from orchestrator.runs.notifications import finish, notices, tell_refused
from orchestrator.runs.plan_check import verdict
from orchestrator.runs.prepare import prepare
from orchestrator.runs.recheck import recheck_run
from orchestrator.runs.records import works_from
from orchestrator.runs.resume import check, frozen_in, go_on_record, log_warnings, resume_plan
from orchestrator.runs.session import Session, limits_of, open_session
from orchestrator.runs.start import RunRequest, begin_log
from orchestrator.runs.status import Ended, RunStatus, State, Stop
from orchestrator.settings.load import Settings

_T = TypeVar("_T")
_LOOK_EVERY_S = 1.0
_INTERRUPTED = Ended(int(Exit.SIGTERM), interrupted=True)


class Unattended:
    """Carries the runs of firings out in this process, with a connection to the cloud for every run."""

    def __init__(
        self,
        settings: Settings,
        recorded: Callable[[str, Record], None],
        replied: Callable[[str, Reply[object]], None],
    ) -> None:
        """Set up.

        Args:
            settings: the settings.
            recorded: called with a playbook's name and every durable record of its runs.
            replied: called with a playbook's name and every answer of the API to its runs.
        """
        self._settings, self._recorded, self._replied = settings, recorded, replied
        self._store = RunStore(settings.audit.state_dir)
        self._told: set[str] = set()

    def standing(self, run_id: str) -> RunStatus:
        """Return the status of a run from its audit log."""
        try:
            return self._standing(self._store.path(run_id))
        except FileNotFoundError:
            return RunStatus(State.NOTHING_SENT)
        except OSError:
            return RunStatus(State.UNREADABLE)

    @staticmethod
    def _standing(path: Path) -> RunStatus:
        if is_held(path):
            return RunStatus(State.HELD)
        state = RunState()
        if read_log(path, state.apply).verdict is Verdict.ALTERED:
            return RunStatus(State.ALTERED)
        if not state.planned:
            return RunStatus(State.VOID)
        if state.finished is not None:
            return RunStatus(State.FINISHED, exit_code=int(state.finished["exit_code"]))
        return RunStatus(State.UNFINISHED, parse_timestamp(state.last_ts))

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: Stop) -> Ended:
        """Plan a run, and carry the plan out if the guards pass."""
        trigger = {
            "schedule": claim.playbook,
            "planned": timestamp(claim.planned),
            "moment": timestamp(claim.moment),
        }
        limits = limits_of(loaded.playbook.limits, self._settings)
        order = RunRequest(loaded, limits, origin_fields={"trigger": trigger}, run_id=claim.run_id)
        try:
            async with self._session(claim, limits) as session:
                prepared = await _unless(stop, partial(prepare, session, loaded))
                if prepared is None:
                    return _INTERRUPTED
                error = verdict(prepared.plan)
                if error is not None:
                    return await self._tell_refused(claim, loaded, error)
                jobs = [Job.of(target) for target in prepared.plan.targets]
                size = prepared.workspace_size
                with claim_cvms(session, claim.run_id, [work.ref for work in jobs], ignore_running=False) as held:
                    others = partial(read_what_others_changed, session, held, jobs, size, prepared.read_at)
                    fresh = await _unless(stop, others)
                    if stop.wanted.is_set():
                        return _INTERRUPTED
                    log, state = begin_log(session, order, prepared, partial(self._heard, claim))
                    return await self._carry_out(
                        session,
                        log,
                        state,
                        jobs,
                        prepared.plan.steps,
                        workspace_size=size,
                        stop=stop,
                        held=held,
                        fresh=fresh,
                    )
        except ClaimedError as error:
            return await self._wait_for_others(claim, error, stop)
        except OrchestratorError as error:
            return await self._tell_refused(claim, loaded, error)

    async def _wait_for_others(self, claim: FiringClaim, error: ClaimedError, stop: Stop) -> Ended:
        """Wait until no live run acts on the same CVMs; the run is then planned again."""
        facts = {"run_id": claim.run_id, "playbook": claim.playbook, "reason": str(error)}
        structlog.get_logger().warning("waiting_for_run", **facts)
        claims = Claims(self._settings.audit.state_dir)
        while True:
            with anyio.move_on_after(_LOOK_EVERY_S):
                await stop.wanted.wait()
                return _INTERRUPTED
            if not claims.any_live(error.run_ids):
                return Ended(int(error.exit_code), reason=str(error), waits=True)

    async def _tell_refused(self, claim: FiringClaim, loaded: LoadedPlaybook, error: OrchestratorError) -> Ended:
        """Send a notice about a refused firing: only once, however often the firing is retried."""
        if claim.run_id not in self._told:
            self._told.add(claim.run_id)
            await tell_refused(self._settings, loaded, error, self._settings.cloud.base_url, number=claim.run_id)
        return _refused(error)

    async def resume(self, claim: FiringClaim, stop: Stop) -> Ended:
        """Resume a run from its audit log."""
        path, state = self._store.path(claim.run_id), RunState()
        try:
            log, reading = AuditLog.reopen(path, state.apply)
            try:
                check(reading, state, path)
                applied = apply_settings(frozen_in(state, path), self._settings, ())
                with claim_again(self._settings, state, ignore_running=False) as held:
                    async with self._session(claim, applied.limits, state.started["cloud_url"]) as session:
                        await wait_for_statuses(session, held)
                        jobs = works_from(state, now=session.clock.now(), wall=session.clock.wall())
                        size = state.planned["workspace_size"]
                        checked = await _unless(stop, partial(recheck_run, session, state, jobs))
                        if checked is None:
                            return _INTERRUPTED
                        plan = resume_plan(jobs, checked, applied)
                        log_warnings(plan, claim.run_id)
                        await go_on_record(
                            log, reading, state, jobs, partial(self._heard, claim), stricter=applied.stricter
                        )
                        go_on = partial(self._carry_out, session, log, state, jobs, plan.steps, workspace_size=size)
                        return await go_on(stop=stop, held=held, fresh=checked.fresh)
            finally:
                log.close()
        except ClaimedError as error:
            return await self._wait_for_others(claim, error, stop)
        except OrchestratorError as error:
            return _refused(error)

    async def _carry_out(
        self,
        session: Session,
        log: AuditLog,
        state: RunState,
        jobs: list[Job],
        steps: Sequence[AnyPlanned],
        *,
        workspace_size: int,
        stop: Stop,
        held: claims.Claim,
        fresh: dict[str, Observation] | None = None,
    ) -> Ended:
        run = prepare_run(session, log, state, jobs, workspace_size, claim=held)

        async def halt(_: anyio.CancelScope) -> None:
            await stop.wanted.wait()
            run.interrupt(stop.ending)
            note = "sending nothing more; watching what was sent"
            structlog.get_logger().warning("interrupting", run_id=log.run_id, note=note)

        async with notices(session, log, state) as notifier:
            result = await carry_to_end(session, log, run, steps, beside=[halt], fresh=fresh, claim=held)
            await finish(notifier, session.settings.notify, state, result)
        assert result is not None  # noqa: S101 - nothing beside the run leaves it at once
        why = explain_early_end(result, log)
        return Ended(
            int(result.exit_code),
            interrupted=result.ending in {Ending.SIGINT, Ending.SIGTERM},
            reason=None if why is None else _words(why),
        )

    @asynccontextmanager
    async def _session(
        self, claim: FiringClaim, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        """Open a connection to the cloud; every connection reads the key anew."""
        with endpoint(self._settings, simulate=False) as where:
            if cloud_url is not None:
                where.require_url(cloud_url)
            async with open_session(self._settings, where, limits) as session:
                yield replace(session, cloud=ObservedCloud(session.cloud, partial(self._replied, claim.playbook)))

    def _heard(self, claim: FiringClaim, record: Record) -> None:
        log_record(record, playbook=claim.playbook, run_id=claim.run_id)
        self._recorded(claim.playbook, record)


async def _unless(stop: Stop, do: Callable[[], Coroutine[Any, Any, _T]]) -> _T | None:
    """Return the result of a task; None for a task stopped before its end."""
    result: _T | None = None

    async def watch(scope: anyio.CancelScope) -> None:
        await stop.wanted.wait()
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


def _refused(error: OrchestratorError) -> Ended:
    return Ended(int(error.exit_code), reason=_words(error))


def _words(error: OrchestratorError) -> str:
    return f"{error}; {error.hint}" if error.hint else str(error)
