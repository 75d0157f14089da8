"""Carry a run out, from its open log to its end."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.engine.context import EarlierProgress, RunContext, SettleSettings
from orchestrator.engine.protocols import Approver
from orchestrator.engine.rate.breaker import Outage
from orchestrator.engine.result import Deadline, RunResult
from orchestrator.engine.run import Run
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.workspace import Workspace
from orchestrator.errors import CloudError, KeyRefusedError, OrchestratorError
from orchestrator.outcome import Ending, exit_code
from orchestrator.runs.claims import RunClaim
from orchestrator.runs.outage_text import outage_text
from orchestrator.runs.session import Endpoint, Session
from orchestrator.runs.start import OpenRun
from orchestrator.runs.status import StopRequest
from orchestrator.times import parse_timestamp

if TYPE_CHECKING:
    from orchestrator.runs.approval import LeftAnswers


def prepare_run(session: Session, opened: OpenRun, approver: Approver | None = None) -> Run:
    """Set up a run to continue from the state of its log.

    Args:
        session: the connection to the cloud.
        opened: the run.
        approver: the source of answers; by default only `orchestrator approve`.
    """
    log, state, claim = opened.log, opened.state, None
    if opened.has_questions:
        approver = approver or wait_for_answers(session, opened)
        if opened.claim is not None:
            claim = RunClaim(opened.claim, session.settings.settle.recheck_after, session.observer)
    if log.backing.permit is not None:
        session.require_permit(log.backing.permit)
        log.backing.report_outages(session.observer.on_warning)
        if session.hold_budget is not None:
            session.hold_budget(state.run_id)
    settle = _settle_of(session)
    ledger = Ledger(opened.jobs, log, session.clock, state.requests)
    workspace = Workspace(
        session.cloud,
        session.gate,
        session.clock,
        session.rng,
        settle,
        size=opened.workspace_size,
        on_outage=partial(_warn_of_outage, session),
    )
    soaks = {wave: parse_timestamp(until) for wave, until in state.soaks.items()}
    before_finish = None
    if state.started.wakeable:
        from orchestrator.runs.own_operations import record_own_operations  # noqa: PLC0415 - few playbooks have a wake

        before_finish = partial(record_own_operations, session, ledger, state)
    freeze = opened.freeze if opened.freeze.freezes else None
    return Run(
        RunContext(ledger, session.clock, session.rng, session.limits, settle, freeze),
        workspace,
        earlier=EarlierProgress(state.passed, state.is_refused, soaks),
        approver=approver,
        deadline=_find_deadline(session, state),
        left_alone=bool(state.left_alone),
        claim=claim,
        before_finish=before_finish,
    )


def wait_for_answers(session: Session, opened: OpenRun) -> "LeftAnswers":
    """Set up the approver for answers left by `orchestrator approve`."""
    from orchestrator.runs.approval import left_answers  # noqa: PLC0415 - most runs ask nothing

    answers, signed = opened.stored.open_approvals(), None
    if session.settings.approval.keys:
        from orchestrator.runs.signed_answer import SignedAnswers  # noqa: PLC0415 - most settings have no keys

        signed = SignedAnswers.of(session.settings, answers, opened.state, session.observer)
    return left_answers(answers, opened.log, opened.state, session.observer, signed)


Finish = Callable[[RunResult | None], Awaitable[None]]
"""Waits a limited time for undelivered notices, with the result of the run; None for a run left at once."""


@asynccontextmanager
async def deliver_notices(session: Session, log: AuditLog, state: RunState) -> AsyncIterator[Finish]:
    """Send notices about a run for the length of the block, if the settings name a channel.

    Args:
        session: the session with the settings.
        log: the open audit log.
        state: the replayed state of the log, kept up to date by the log.
    """
    settings = session.settings.notify
    if not settings.has_receivers:
        yield _finish_nothing
        return
    from orchestrator.runs import notifications  # noqa: PLC0415 - most runs notify nobody

    async with notifications.send_notices(session, log, state) as notifier:
        yield partial(notifications.finish_notices, notifier, settings, state)


async def _finish_nothing(result: RunResult | None) -> None:
    del result


def _warn_of_outage(session: Session, outage: Outage | None) -> None:
    """Warn of the begin or the end of an outage of the API."""
    if outage is None:
        session.observer.on_warning("api.up", note="The API answers again: the run continues.")
    else:
        session.observer.on_warning("api.down", note=describe_outage(session, outage))


def _find_deadline(session: Session, state: RunState) -> Deadline | None:
    """Return the deadline for the last request, measured from the first start of the run, also after a resume."""
    deadline = state.planned.deadline
    if deadline is None:
        return None
    since = (session.clock.wall() - parse_timestamp(state.started.ts)).total_seconds()
    return Deadline(deadline["seconds"], session.clock.now() - since + deadline["seconds"])


Beside = Callable[[anyio.CancelScope], Coroutine[Any, Any, None]]
"""A task beside a run. The task can leave the run at once by a cancellation of this scope."""


async def carry_to_end(session: Session, opened: OpenRun, run: Run, beside: Sequence[Beside] = ()) -> RunResult | None:
    """Carry a run out, save the profile of the API, close the log, and release the claim.

    Args:
        session: the connection to the cloud.
        opened: the run.
        run: the same run, set up by `prepare_run`.
        beside: the tasks to run at the same time.

    Returns:
        The result of the run; None for a run left at once.
    """
    result: RunResult | None = None
    try:
        async with anyio.create_task_group() as group:
            for each in beside:
                group.start_soon(each, group.cancel_scope)
            if opened.log.backing.permit is not None:
                group.start_soon(_end_wait_when_cancelled, opened.log)
            if opened.fresh is not None:
                run.apply_statuses(opened.fresh)
            result = await run(opened.steps)
            group.cancel_scope.cancel()
    finally:
        opened.log.close()
        if opened.claim is not None:
            opened.claim.release(has_ended=result is not None and result.ending not in LEAVES_DOUBT)
        session.save_profile(
            batch_size=run.reader.batch_size,
            batch_missing=run.reader.batch_missing,
            settle=run.ledger.settled_within,
        )
    return result


async def _end_wait_when_cancelled(log: AuditLog) -> None:
    """Let a second signal end a run over a team store that is down: writes can't be cancelled."""
    try:
        await anyio.sleep_forever()
    finally:
        log.backing.end_wait()


async def carry_out(
    session: Session, opened: OpenRun, stop: StopRequest, on_run: Callable[[Run], object] | None = None
) -> RunResult:
    """Carry a run out without a person: send notices, and end the run on request.

    Args:
        session: the connection to the cloud.
        opened: the run; its log and its claim are closed at the end.
        stop: the request to end the run. Sent requests are still watched.
        on_run: called with the run before its begin, for a live view.
    """
    run = prepare_run(session, opened)
    if on_run is not None:
        on_run(run)
    if stop.requested.is_set():  # the task beside the run may begin after the first request
        _end_run(run, stop)

    async def interrupt(everything: anyio.CancelScope) -> None:
        """End the run on request."""
        await stop.requested.wait()
        _end_run(run, stop)
        note = "sending nothing more; watching the sent requests"
        session.observer.on_warning("interrupting", run_id=opened.log.run_id, note=note)
        await stop.at_once.wait()
        if stop.ending is Ending.CANCELLED:
            _end_run(run, stop)
        else:
            everything.cancel()

    with opened:
        async with deliver_notices(session, opened.log, opened.state) as finish:
            result = await carry_to_end(session, opened, run, [interrupt])
            await finish(result)
    return result or RunResult(stop.ending, exit_code(stop.ending, {}, anything_sent=True))


def _end_run(run: Run, stop: StopRequest) -> None:
    """End a run as requested."""
    if stop.ending is Ending.CANCELLED:
        run.cancel(stop.by, at_once=stop.at_once.is_set())
    else:
        run.interrupt(stop.ending)


def _settle_of(session: Session) -> SettleSettings:
    """Return the settle settings of the session."""
    settle = session.settings.settle
    return SettleSettings(
        recheck_after=settle.recheck_after,
        poll_min=settle.poll_min,
        poll_max=settle.poll_max,
        batch_size=session.batch_size,
        batch_missing=session.batch_missing,
        cloud_down=settle.cloud_down,
        whole_run=settle.whole_run,
        refresh_after=session.settings.guards.recheck_after,
    )


def explain_early_end(result: RunResult | None, log: AuditLog, where: Endpoint) -> OrchestratorError | None:
    """Return the error to fix before the next `resume`; None without an error."""
    if result is None:
        return None
    if result.ending is Ending.KEY_REFUSED:
        hint = f"check {where.key_source}, then `orchestrator resume {log.run_id}`"
        return KeyRefusedError("the API refuses the key; nothing more was sent", hint=hint)
    if result.ending in _WHY:
        return CloudError(_WHY[result.ending], hint=f"later: `orchestrator resume {log.run_id}`")
    return result.error


LEAVES_DOUBT = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT, Ending.LOG_FAILED})
"""Endings with possibly unanswered requests."""


def describe_outage(session: Session, outage: Outage) -> str:
    """Describe an outage of the API, with the time until the next probe and until the run gives up."""
    now = session.clock.now()
    return outage_text(outage.reason, outage.next_probe - now, outage.gives_up_at - now)


_WHY = {
    Ending.CLOUD_DOWN: "the API was down for too long (settle.cloud_down); nothing more was sent",
    Ending.TIMED_OUT: "the run took too long (settle.whole_run); nothing more was sent",
}
