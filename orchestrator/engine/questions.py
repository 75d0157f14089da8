"""Approvals and messages between the steps of a run."""

from datetime import datetime, timedelta

from orchestrator.audit.events import Event
from orchestrator.engine.protocols import Answer, Approver
from orchestrator.engine.run_control import RunControl
from orchestrator.outcome import Ending
from orchestrator.playbook.resolved_steps import Message, Question
from orchestrator.times import timestamp


async def post_message(control: RunControl, step: Message) -> None:
    """Record a message; a reader of the audit log delivers the message.

    Raises:
        AuditError: when the audit log can't be written.
    """
    control.context.ledger.record_step_event(Event.NOTICE, step.name, message=step.text)
    await control.context.ledger.flush()


async def request_approval(control: RunControl, step: Question, approver: Approver | None) -> None:
    """Request an approval and wait for the answer; a timeout is a refusal, an interruption leaves the question open.

    Raises:
        AuditError: when the audit log can't be written.
    """
    ledger, clock = control.context.ledger, control.context.clock
    asked_at = clock.now()
    expires_at = clock.wall() + timedelta(seconds=step.timeout)
    ledger.record_step_event(
        Event.APPROVAL_REQUESTED, step.name, question=step.question, expires_at=timestamp(expires_at)
    )
    await ledger.flush()
    answer = await _wait_for_answer(control, step, approver, expires_at)
    if answer is None and control.ending is not None:
        return
    answered = "timed_out" if answer is None else "approved" if answer.approved else "refused"
    by, via = (None, None) if answer is None else (answer.by, answer.via)
    optional = {} if answer is None else {"comment": answer.comment, "db_user": answer.db_user}
    more: dict[str, object] = {name: value for name, value in optional.items() if value is not None}
    if answer is not None and answer.signatures:
        more["signatures"] = [dict(each) for each in answer.signatures]
    ledger.record_step_event(Event.APPROVAL_ANSWERED, step.name, answer=answered, by=by, via=via, **more)
    await ledger.flush()
    if answered != "approved":
        control.halt(Ending.NOT_APPROVED)
    elif clock.now() - asked_at > control.context.settle.refresh_after:
        await control.refresh_statuses(control.jobs)


async def _wait_for_answer(
    control: RunControl, step: Question, approver: Approver | None, expires_at: datetime
) -> Answer | None:
    if approver is None or control.ending is not None:
        return None
    with control.interruptible_wait(step.timeout, is_idle=True):
        return await approver.wait_for_answer(step.name, step.question, expires_at)
    # The wait is over. A person may have answered since the approver's last check.
    return approver.find_answer() if control.cut_by is None else None
