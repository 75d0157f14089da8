"""The proof at the end: every CVM that was seen down is read once more, and one that came back is named."""

import anyio

from orchestrator.engine.judge import Finding, Watched, judge_again
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.protocols import Clock
from orchestrator.engine.status import StatusReader
from orchestrator.engine.work import Work
from orchestrator.outcome import Outcome

_ROUNDS = 10
"""How often a CVM that is neither down nor up again is read before it counts as not settled after all."""
_ROUNDS_UNREAD = 60
"""The same for one whose status can't be read; an API that is down as a whole ends the run earlier."""


async def sweep(reader: StatusReader, ledger: Ledger, clock: Clock, recheck_after: float) -> None:
    """Read every settled target once more, until each is confirmed or has another outcome.

    A CVM that was deleted meanwhile stays settled: it is down for good.

    Raises:
        AuditError: when the trail can't be written.
    """
    open_works = {work.ref.key: work for work in ledger.works if work.outcome is Outcome.SETTLED}
    watched: dict[str, Watched] = {}
    for number in range(_ROUNDS_UNREAD):
        if number:
            await anyio.sleep(recheck_after)
        seen = await reader.read([work.ref for work in open_works.values()])
        for key, each in seen.items():
            work = open_works[key]
            if each.read is None:
                del open_works[key]
                continue
            ledger.status(work, each.read)
            doubt = watched.setdefault(key, Watched(work.before, clock.now(), float("inf"), accepted=True))
            finding = judge_again(doubt, each.read, each.begun, recheck_after)
            if finding is Finding.RISEN:
                _risen(ledger, work, each.read.status)
            elif finding is Finding.OPEN and number >= _ROUNDS:
                reason = f"it was seen down, but at the end of the run its status is {each.read.status!r}"
                ledger.ended(work, Outcome.UNSETTLED, reason)
                finding = Finding.SETTLED
            if finding is not Finding.OPEN:
                del open_works[key]
        await ledger.flush()
        if not open_works:
            return
    for work in open_works.values():
        ledger.ended(work, Outcome.UNSETTLED, "it was seen down, but its status can't be read at the end of the run")


def _risen(ledger: Ledger, work: Work, status: str) -> None:
    reason = f"it was seen down, and at the end of the run its status is {status!r} again"
    ledger.ended(work, Outcome.RESURRECTED, reason)
