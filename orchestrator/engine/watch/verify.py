"""Final verification: read every settled CVM once more, and record CVMs that did not stay settled."""

import anyio

from orchestrator.engine.context import RunContext
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import StatusReader
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_settled_status
from orchestrator.outcome import Outcome

_ROUNDS = 10
"""Reads of a CVM in an intermediate status before the target counts as unsettled."""
_ROUNDS_UNREAD = 60
"""Reads of a CVM with an unreadable status; an outage of the API ends the run earlier."""


async def verify_settled(reader: StatusReader, context: RunContext, open_jobs: dict[str, Job]) -> None:
    """Read settled targets once more, until all targets are confirmed or have another outcome.

    A confirmed target, or a target with another outcome, is removed from `open_jobs` (targets by the key of the CVM).
    After a cancellation, `open_jobs` has the unconfirmed targets.

    A stopped CVM that was deleted meanwhile stays settled: the CVM is down for good.

    Raises:
        AuditError: when the audit log can't be written.
    """
    ledger, clock, recheck_after = context.ledger, context.clock, context.settle.recheck_after
    watched: dict[str, WatchState] = {}
    for number in range(_ROUNDS_UNREAD):
        if number:
            await anyio.sleep(recheck_after)
        seen = await reader.read_statuses([job.ref for job in open_jobs.values()])
        for key, each in seen.items():
            job = open_jobs[key]
            if each.read is None:
                _record_deletion(ledger, job)
                del open_jobs[key]
                continue
            ledger.record_status(job, each.read)
            doubt = watched.setdefault(
                key, WatchState(job.before, clock.now(), float("inf"), is_accepted=True, action=job.action)
            )
            finding = evaluate_settled_status(doubt, each.read, each.begun, recheck_after)
            if finding in {Finding.CAME_UP, Finding.WENT_DOWN}:
                _record_change(ledger, job, each.read.status)
            elif finding is Finding.PENDING and number >= _ROUNDS:
                reason = f"{_describe_seen(job)}, but read once more its status is {each.read.status!r}"
                ledger.record_outcome(job, Outcome.UNSETTLED, reason)
                finding = Finding.SETTLED
            if finding is not Finding.PENDING:
                del open_jobs[key]
        await ledger.flush()
        if not open_jobs:
            return
    for job in open_jobs.values():
        leave_unconfirmed(ledger, job, "its status can't be read once more")
    open_jobs.clear()


def leave_unconfirmed(ledger: Ledger, job: Job, reason: str) -> None:
    """Record a settled target as unsettled, because its status could not be read once more."""
    ledger.record_outcome(job, Outcome.UNSETTLED, f"{_describe_seen(job)}, but {reason}")


def _record_deletion(ledger: Ledger, job: Job) -> None:
    if job.action.leaves_running:
        ledger.record_outcome(job, job.outcome_if_deleted, "it was seen running, and was deleted later")


def _record_change(ledger: Ledger, job: Job, status: str) -> None:
    reason = f"{_describe_seen(job)}, and read once more its status is {status!r} again"
    ledger.record_outcome(job, Outcome.FAILED if job.action.leaves_running else Outcome.RESURRECTED, reason)


def _describe_seen(job: Job) -> str:
    return "it was seen running" if job.action.leaves_running else "it was seen down"
