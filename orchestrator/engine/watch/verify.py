"""Final verification: read every settled CVM once more, and record CVMs that did not stay settled."""

import anyio

from orchestrator.engine.context import RunContext
from orchestrator.engine.job import Job
from orchestrator.engine.read.status import StatusReader
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, Watched, judge_again
from orchestrator.outcome import Outcome

_ROUNDS = 10
"""Reads of a CVM in an intermediate status before the target counts as unsettled."""
_ROUNDS_UNREAD = 60
"""Reads of a CVM with an unreadable status; an outage of the API ends the run earlier."""


async def sweep(reader: StatusReader, context: RunContext, open_works: dict[str, Job]) -> None:
    """Read settled targets once more, until all targets are confirmed or have another outcome.

    A confirmed target, or a target with another outcome, is removed from `open_works` (targets by the key of the CVM).
    After a cancellation, `open_works` has the unconfirmed targets.

    A stopped CVM that was deleted meanwhile stays settled: the CVM is down for good.

    Raises:
        AuditError: when the audit log can't be written.
    """
    ledger, clock, recheck_after = context.ledger, context.clock, context.settle.recheck_after
    watched: dict[str, Watched] = {}
    for number in range(_ROUNDS_UNREAD):
        if number:
            await anyio.sleep(recheck_after)
        seen = await reader.read([work.ref for work in open_works.values()])
        for key, each in seen.items():
            work = open_works[key]
            if each.read is None:
                _deleted(ledger, work)
                del open_works[key]
                continue
            ledger.status(work, each.read)
            doubt = watched.setdefault(
                key, Watched(work.before, clock.now(), float("inf"), accepted=True, action=work.action)
            )
            finding = judge_again(doubt, each.read, each.begun, recheck_after)
            if finding in {Finding.CAME_UP, Finding.WENT_DOWN}:
                _changed(ledger, work, each.read.status)
            elif finding is Finding.OPEN and number >= _ROUNDS:
                reason = f"{_seen(work)}, but read once more its status is {each.read.status!r}"
                ledger.ended(work, Outcome.UNSETTLED, reason)
                finding = Finding.SETTLED
            if finding is not Finding.OPEN:
                del open_works[key]
        await ledger.flush()
        if not open_works:
            return
    for work in open_works.values():
        leave_unconfirmed(ledger, work, "its status can't be read once more")
    open_works.clear()


def leave_unconfirmed(ledger: Ledger, work: Job, reason: str) -> None:
    """Record a settled target as unsettled, because its status could not be read once more."""
    ledger.ended(work, Outcome.UNSETTLED, f"{_seen(work)}, but {reason}")


def _deleted(ledger: Ledger, work: Job) -> None:
    if work.action.leaves_running:
        ledger.ended(work, work.if_deleted, "it was seen running, and was deleted later")


def _changed(ledger: Ledger, work: Job, status: str) -> None:
    reason = f"{_seen(work)}, and read once more its status is {status!r} again"
    ledger.ended(work, Outcome.FAILED if work.action.leaves_running else Outcome.RESURRECTED, reason)


def _seen(work: Job) -> str:
    return "it was seen running" if work.action.leaves_running else "it was seen down"
