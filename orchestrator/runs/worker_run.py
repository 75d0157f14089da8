"""One run of a worker: planned and begun, or continued from its log, until the run ends or is handed over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread

from orchestrator.errors import (
    AuditError,
    ClaimedError,
    CloudError,
    NotConfirmedError,
    OrchestratorError,
    StoreDownError,
)
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.postgres.lease import Lease
from orchestrator.postgres.queue import Submitter
from orchestrator.runs.abandon import abandon_run
from orchestrator.runs.claims import claim_again
from orchestrator.runs.execute import carry_out
from orchestrator.runs.notifications import notify_refusal
from orchestrator.runs.resume import ReopenedRun, reopen_run, report_warnings
from orchestrator.runs.session import Endpoint, RunObserver, Session, open_session
from orchestrator.runs.status import StopRequest
from orchestrator.runs.stores import claim_store, run_store
from orchestrator.runs.submission import Submission
from orchestrator.runs.unattended import plan_and_start, run_unless
from orchestrator.settings.load import Settings
from orchestrator.times import format_duration, parse_timestamp, timestamp, utc_now

RETRY_S = 30.0
"""Seconds between two attempts to continue a run while the API can't be read."""
_POLL_S = 1.0


class LeaseTaker(Protocol):
    """Takes and lets go leases. May block for seconds."""

    def take(self, run_id: str, taker: str) -> Lease | None:
        """Take a run; None when the run can't be taken now."""
        ...

    def let_go(
        self, lease: Lease, state: str | None = None, *, exit_code: int | None = None, reason: str | None = None
    ) -> bool:
        """End a lease; do nothing for a lease that ended before."""
        ...


@dataclass(slots=True)
class HeldRun:
    """A run held by this worker.

    Attributes:
        lease: the lease.
        leases: lets the lease go.
        stop: the request to end the run.
        scope: cancelled once another worker has the run.
        ended: set once the run is let go.
    """

    lease: Lease
    leases: LeaseTaker
    stop: StopRequest = field(default_factory=StopRequest)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def run_id(self) -> str:
        """The run."""
        return self.lease.run_id

    @property
    def is_cancelled(self) -> bool:
        """Whether a person cancelled the run."""
        return self.stop.requested.is_set() and self.stop.ending is Ending.CANCELLED

    @property
    def is_handed_over(self) -> bool:
        """Whether another worker is to continue the run."""
        return self.stop.requested.is_set() and self.stop.ending is not Ending.CANCELLED

    async def let_go(self, state: str | None = None, *, code: int | None = None, reason: str | None = None) -> None:
        """Let the run go, unless the end of its log did so already. Without the database the lease runs out.

        Args:
            state: the state of the run from now on; None keeps the state.
            code: the exit code of an ended run.
            reason: the reason of the state, for people.
        """
        with suppress(OrchestratorError):
            await anyio.to_thread.run_sync(
                partial(self.leases.let_go, self.lease, state, exit_code=code, reason=reason)
            )


class RunCarrier:
    """Carries out the runs of a worker."""

    def __init__(
        self,
        settings: Settings,
        read_submitter: Callable[[str], Awaitable[Submitter]],
        *,
        observe: Callable[[str, str], RunObserver],
        emit: Callable[..., object],
    ) -> None:
        """Set up.

        Args:
            settings: the settings with the keys of all workspaces.
            read_submitter: reads who submitted a run.
            observe: returns the observer of a run, by the id of the run and the name of the workspace.
            emit: called with an event's name, and its facts by keyword.
        """
        self._settings, self._read_submitter = settings, read_submitter
        self._observe, self._emit = observe, emit

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
        settings = self._settings.for_workspace(lease.workspace)
        if lease.seq:
            await self._resume(held, settings)
        else:
            await self._start(held, settings, submitter)

    async def _start(self, held: HeldRun, settings: Settings, submitter: Submitter) -> None:
        """Plan a submitted run, and carry the plan out if the guards pass."""
        order: Submission | None = None
        try:
            order = Submission.from_document(held.lease.spec)
            while not held.stop.requested.is_set():
                try:
                    await self._plan_and_carry_out(held, settings, order, submitter)
                except ClaimedError as error:
                    await self._wait_for_others(held, settings, error)
                else:
                    break
        except OrchestratorError as error:
            await self._refuse(held, settings, order, error)
        if held.is_cancelled:
            by = held.stop.by or "a person"
            await held.let_go("void", code=int(Exit.ENDED_EARLY), reason=f"cancelled by {by} before the first request")

    async def _plan_and_carry_out(
        self, held: HeldRun, settings: Settings, order: Submission, submitter: Submitter
    ) -> None:
        submitted = {"by": submitter.by, "db_user": submitter.db_user, "at": timestamp(submitter.at)}
        request = order.build_request(settings, held.run_id, submitted)
        async with self._open_session(held, settings, request.limits) as session:
            opened = await run_unless(held.stop, partial(plan_and_start, session, request, order.confirm_plan))
            if opened is not None:
                await carry_out(session, opened, held.stop)

    async def _wait_for_others(self, held: HeldRun, settings: Settings, error: ClaimedError) -> None:
        """Wait until no live run acts on the same CVMs, or until this run is to end."""
        self._emit("worker.waits", run_id=held.run_id, reason=str(error))
        claims = claim_store(settings)
        while await anyio.to_thread.run_sync(claims.is_any_live, error.run_ids):
            with anyio.move_on_after(_POLL_S):
                await held.stop.requested.wait()
                return

    async def _refuse(
        self, held: HeldRun, settings: Settings, order: Submission | None, error: OrchestratorError
    ) -> None:
        """End a run that did not begin; while the database is down, leave the run to the next worker."""
        if isinstance(error, StoreDownError | AuditError):
            return
        self._emit("worker.refused", run_id=held.run_id, reason=explain(error))
        await held.let_go("void", code=int(error.exit_code), reason=explain(error))
        if order is not None:
            url, observer = settings.find_base_url(), self._observe(held.run_id, held.lease.workspace)
            await notify_refusal(settings, order.loaded, error, url, observer, number=held.run_id)

    async def _resume(self, held: HeldRun, settings: Settings) -> None:
        """Continue a run from its log; while its CVMs can't be read, try again and again."""
        with reopen_run(run_store(settings).get_run(held.run_id)) as reopened:
            if reopened.state.finished is not None:
                return
            has_ended = False
            while not has_ended and not held.is_handed_over:
                try:
                    has_ended = await self._continue(held, settings, reopened)
                except ClaimedError as error:
                    await self._wait_for_others(held, settings, error)
                except CloudError as error:
                    self._emit("worker.waits", run_id=held.run_id, reason=explain(error))
                    with anyio.move_on_after(RETRY_S):
                        await held.stop.requested.wait()
                except (AuditError, StoreDownError):
                    raise
                except OrchestratorError as error:
                    await held.let_go("left", reason=explain(error))  # before the end of the log does so
                    return

    async def _continue(self, held: HeldRun, settings: Settings, reopened: ReopenedRun) -> bool:
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
                gap = (utc_now() - parse_timestamp(state.last_ts)).total_seconds()
                if plan.doubtful and gap > settings.audit.resume_without_asking:
                    message = f"nobody had the run for {format_duration(gap)}: CVMs may have been started on purpose"
                    raise NotConfirmedError(message, hint=f"`orchestrator resume {held.run_id}` asks a person")
                report_warnings(plan, session.observer, held.run_id)
                await carry_out(session, await reopened.record_resume(session, plan, claim), held.stop)
                return True

    @asynccontextmanager
    async def _open_session(
        self, held: HeldRun, settings: Settings, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        """Open a connection to the cloud; every connection reads the key anew."""
        where = await anyio.to_thread.run_sync(Endpoint.from_settings, settings)
        if cloud_url is not None:
            where.require_url(cloud_url)
        observer = self._observe(held.run_id, held.lease.workspace)
        async with open_session(settings, where, limits, observer) as session:
            yield session


def explain(error: OrchestratorError) -> str:
    """Return an error with its remedy, in one sentence."""
    return f"{error}; {error.hint}" if error.hint else str(error)
