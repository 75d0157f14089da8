"""The proof at the end: every CVM that was seen down is read once more, and one that came back is named."""

import anyio

from orchestrator.engine.judge import Finding, Watched, judge_again
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.protocols import Clock
from orchestrator.engine.status import StatusReader
from orchestrator.engine.work import Work
from orchestrator.outcome import Outcome

_ROUNDS = 10
"""How often a CVM that is neither down nor up is read again before its earlier reading stands."""


async def sweep(reader: StatusReader, ledger: Ledger, clock: Clock, recheck_after: float) -> int:
    """Read every settled target once more; returns how many could not be confirmed either way.

    A CVM that was deleted meanwhile stays settled: it is down for good.

    Raises:
        AuditError: when the trail can't be written.
    """
    open_works = {work.ref.key: work for work in ledger.works if work.outcome is Outcome.SETTLED}
    watched: dict[str, Watched] = {}
    for number in range(_ROUNDS):
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
            if finding is not Finding.OPEN:
                del open_works[key]
        await ledger.flush()
        if not open_works:
            break
    return len(open_works)


def _risen(ledger: Ledger, work: Work, status: str) -> None:
    reason = f"it was seen down, and at the end of the run its status is {status!r} again"
    ledger.ended(work, Outcome.RESURRECTED, reason)
