"""One run of a worker: planned and begun, or continued from its log, until the run ends or is handed over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial

import anyio
import anyio.to_thread

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.errors import (
    AuditError,
    ClaimedError,
    CloudError,
    NotConfirmedError,
    OrchestratorError,
    SettingsError,
    StoreDownError,
)
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.postgres.lease import Release
from orchestrator.postgres.link import Query
from orchestrator.postgres.queue import Submitter
from orchestrator.runs.abandon import abandon_run
from orchestrator.runs.claims import claim_again
from orchestrator.runs.execute import carry_out
from orchestrator.runs.held_run import HeldRun
from orchestrator.runs.keeping import KeepReader
from orchestrator.runs.notifications import notify_refusal
from orchestrator.runs.resume import ReopenedRun, reopen_run, report_warnings
from orchestrator.runs.session import Endpoint, RunObserver, Session, open_session
from orchestrator.runs.start import Confirm, OpenRun
from orchestrator.runs.stores import claim_store, run_store
from orchestrator.runs.submission import Submission
from orchestrator.runs.unattended import plan_and_start, run_unless
from orchestrator.runs.worker_fleet import Coordinator, Membership, find_membership
from orchestrator.settings.load import Settings
from orchestrator.times import format_duration, parse_timestamp

RETRY_S = 30.0
"""Seconds between two attempts to continue a run while the API can't be read."""
_POLL_S = 1.0


class _NoKeyError(SettingsError):
    """Raised when this worker has no key for a run any more; another worker may have the key."""


class RunCarrier:
    """Carries out the runs of a worker."""

    def __init__(
        self,
        settings: Settings,
        read_submitter: Callable[[str], Awaitable[Submitter]],
        query: Query,
        *,
        observe: Callable[[str, str], RunObserver],
        emit: Callable[..., object],
        keeps: KeepReader | None = None,
    ) -> None:
        """Set up.

        Args:
            settings: the settings with the keys of all workspaces.
            read_submitter: reads who submitted a run.
            query: executes a statement.
            observe: returns the observer of a run, by the id of the run and the name of the workspace.
            emit: called with an event's name, and its facts by keyword.
            keeps: reads the exemptions; None for a reader of its own.
        """
        self._settings, self._read_submitter, self._query = settings, read_submitter, query
        self._observe, self._emit = observe, emit
        self._keeps = keeps or KeepReader(keeps_last=True)

    async def __call__(self, held: HeldRun) -> None:
        """Carry a run out, or continue the run; a refused run is let go with the reason.

        Raises:
            AuditError: when the log can't be written.
            StoreDownError: when the database can't be reached.
        """
        lease = held.lease
        submitter = await self._read_submitter(held.run_id)
        if lease.stop_wanted is not None:
            held.stop.request_end(Ending.CANCELLED, at_once=lease.stop_wanted == "at_once", by=submitter.stop_by)
        if not lease.workspace:
            await self._coordinate(held, submitter)
            return
        settings, member = self._settings.for_workspace(lease.workspace), await find_membership(self._query, held)
        if lease.seq:
            await self._resume(held, settings, member)
        else:
            await self._start(held, settings, submitter, member)

    async def _coordinate(self, held: HeldRun, submitter: Submitter) -> None:
        """Coordinate a fleet run."""
        order: Submission | None = None
        try:
            order = Submission.from_document(held.lease.spec)
            coordinate = Coordinator(self._settings, self._query, held)
            await coordinate(order.build_order(self._settings, submitter.describe()))
        except OrchestratorError as error:
            await self._refuse(held, self._settings, order, error)

    async def _start(self, held: HeldRun, settings: Settings, submitter: Submitter, member: Membership | None) -> None:
        """Plan a submitted run, and carry the plan out if the guards pass."""
        order: Submission | None = None
        try:
            order = Submission.from_document(held.lease.spec)
            while not held.stop.requested.is_set():
                try:
                    await self._plan_and_carry_out(held, settings, order, submitter, member)
                except ClaimedError as error:
                    await self._wait_for_others(held, settings, error)
                else:
                    break
        except OrchestratorError as error:
            # The coordinator reports the refusal of a fleet run, once for all members.
            await self._refuse(held, settings, order if member is None else None, error)
        if held.is_cancelled:
            reason = f"cancelled by {held.stop.by or 'a person'} before the first request"
            await held.let_go(Release("void", int(Exit.ENDED_EARLY), reason))

    async def _plan_and_carry_out(
        self, held: HeldRun, settings: Settings, order: Submission, submitter: Submitter, member: Membership | None
    ) -> None:
        request = order.build_request(settings, held.run_id, submitter.describe())
        confirm: Confirm = order.confirm_plan
        if member is not None:
            request, confirm = replace(request, fleet_id=member.fleet_id), member.confirm_plan
        async with self._open_session(held, settings, request.limits) as session:
            opened = await run_unless(held.stop, partial(plan_and_start, session, request, confirm))
            if opened is not None:
                await _carry_out(session, opened, held, member)

    async def _wait_for_others(self, held: HeldRun, settings: Settings, error: ClaimedError) -> None:
        """Wait until no live run acts on the same CVMs, or until this run is to end."""
        self._emit("worker.waits", run_id=held.run_id, reason=str(error))
        held.give_place()  # the other run may wait for a place here
        claims = claim_store(settings)
        while await anyio.to_thread.run_sync(claims.is_any_live, error.run_ids):
            with anyio.move_on_after(_POLL_S):
                await held.stop.requested.wait()
                return
        await held.wait_for_place()

    async def _refuse(
        self, held: HeldRun, settings: Settings, order: Submission | None, error: OrchestratorError
    ) -> None:
        """End a run that did not begin; while the database is down, leave the run to the next worker."""
        if isinstance(error, StoreDownError | AuditError):
            await held.let_go(Release(reason=explain(error), wait=RETRY_S))
            return
        if isinstance(error, _NoKeyError):
            self._emit("worker.no_key", run_id=held.run_id, workspace=held.lease.workspace, reason=explain(error))
            await held.let_go(Release(reason=explain(error), wait=RETRY_S))
            return
        self._emit("worker.refused", run_id=held.run_id, reason=explain(error))
        await held.let_go(Release("void", int(error.exit_code), explain(error)))
        if order is not None:
            url, observer = settings.find_base_url(), self._observe(held.run_id, held.lease.workspace)
            await notify_refusal(settings, order.loaded, error, url, observer, number=held.run_id)

    async def _resume(self, held: HeldRun, settings: Settings, member: Membership | None) -> None:
        """Continue a run from its log; while its CVMs can't be read, try again and again."""
        with ExitStack() as log:
            reopening = reopen_run(run_store(settings).get_run(held.run_id), in_fleet=member is not None)
            # In a thread: neither a long log nor a slow database stops the other runs of this worker.
            reopened = await anyio.to_thread.run_sync(log.enter_context, reopening)
            if reopened.state.finished is not None:
                return
            has_ended = False
            while not has_ended and not held.is_handed_over:
                try:
                    has_ended = await self._continue(held, settings, reopened, member)
                except ClaimedError as error:
                    await self._wait_for_others(held, settings, error)
                except CloudError as error:
                    self._emit("worker.waits", run_id=held.run_id, reason=explain(error))
                    with anyio.move_on_after(RETRY_S):
                        await held.stop.requested.wait()
                except (AuditError, StoreDownError):
                    raise
                except _NoKeyError as error:
                    await self._refuse(held, settings, None, error)
                    return
                except OrchestratorError as error:
                    await held.let_go(Release("left", reason=explain(error)))  # before the end of the log does so
                    return

    async def _continue(
        self, held: HeldRun, settings: Settings, reopened: ReopenedRun, member: Membership | None
    ) -> bool:
        """Continue a reopened run to its end, or end a cancelled run; return False for a run stopped before."""
        state = reopened.state
        applied = reopened.apply_settings(settings)
        async with self._open_session(held, settings, applied.limits, state.started.cloud_url) as session:
            if held.is_cancelled:
                await abandon_run(session, reopened, None, cancelled_by=held.stop.by or "a person")
                return True
            order = held.lease.spec
            with claim_again(claim_store(settings), state, ignore_running=bool(order.get("ignore_running"))) as claim:
                plan = await run_unless(
                    held.stop,
                    partial(reopened.plan, session, applied, claim, break_freeze=order.get("break_freeze")),
                )
                if plan is None:
                    return False
                gap = (session.clock.wall() - parse_timestamp(state.last_ts)).total_seconds()
                if plan.doubtful and gap > settings.audit.resume_without_asking:
                    message = f"nobody had the run for {format_duration(gap)}: CVMs may have been started on purpose"
                    raise NotConfirmedError(message, hint=f"`orchestrator resume {held.run_id}` asks a person")
                report_warnings(plan, session.observer, held.run_id)
                await _carry_out(session, await reopened.record_resume(session, plan, claim), held, member)
                return True

    @asynccontextmanager
    async def _open_session(
        self, held: HeldRun, settings: Settings, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        """Open a connection to the cloud; every connection reads the key anew."""
        try:
            where = await anyio.to_thread.run_sync(Endpoint.from_settings, settings)
        except SettingsError as error:
            raise _NoKeyError(error.message, hint=error.hint, file=error.file) from error
        if cloud_url is not None:
            where.require_url(cloud_url)
        observer = self._observe(held.run_id, held.lease.workspace)
        async with open_session(settings, where, limits, observer, keeps=self._keeps) as session:
            yield session


async def _carry_out(session: Session, opened: OpenRun, held: HeldRun, member: Membership | None) -> None:
    """Carry a run out; a member of a fleet run obeys the coordinator meanwhile."""

    def leave_place(record: Record) -> None:
        """Leave the place to another run during a question. After the answer, the run continues without a place."""
        if record["event"] == Event.APPROVAL_REQUESTED:
            held.give_place()

    opened.log.observers.append(leave_place)
    async with nullcontext() if member is None else member.obey(held.stop):
        await carry_out(session, opened, held.stop)


def explain(error: OrchestratorError) -> str:
    """Return an error with its remedy, in one sentence."""
    return f"{error}; {error.hint}" if error.hint else str(error)
