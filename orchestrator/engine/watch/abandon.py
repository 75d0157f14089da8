"""Abandon a run: a status read decides the outcome of every open request. No request is sent."""

from collections.abc import Mapping

from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.read.status import Observation
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, Watched, judge
from orchestrator.outcome import Outcome
from orchestrator.reply import StatusRead


def close_open(ledger: Ledger, seen: Mapping[str, Observation], recheck_after: float) -> None:
    """Give an outcome to every open target with a request; targets without a request stay open.

    Args:
        ledger: the ledger with the targets.
        seen: the status of every open target by the CVM's key, read at least `recheck_after` after its last request.
        recheck_after: the longest lag of a status, in seconds.
    """
    for work in ledger.jobs:
        if work.phase is RequestPhase.UNANSWERED:
            ledger.record_unanswered(work, "the process ended before the answer was on record")
        if work.outcome is None and (work.under_way or work.billed):
            each = seen[work.ref.key]
            if each.read is None:
                ledger.ended(work, work.if_deleted, "no such CVM any more: it was deleted meanwhile")
                continue
            ledger.status(work, each.read)
            if _has_settled(ledger, work, each.read, each.begun, recheck_after):
                ledger.ended(work, Outcome.SETTLED)
            else:
                open_yet = f"the run was abandoned while the outcome of its {work.action} was open"
                ledger.ended(work, Outcome.UNSETTLED, f"{open_yet}; last seen {each.read.status!r}")


def _has_settled(ledger: Ledger, work: Job, read: StatusRead, begun: float, recheck_after: float) -> bool:
    """Whether the CVM has the wanted status; records the effect of a request proved by the status."""
    if not work.under_way:  # the shutdown was accepted, and the planned stop was never sent
        return read.down
    latest = begun - recheck_after
    watched = Watched(
        before=work.before,
        since=latest if work.accepted_at is None else min(latest, work.accepted_at),
        deadline=begun,
        accepted=work.accepted,
        shared=work.batch is not None,
        action=work.action,
        overtaken=work.escalated_at is not None,
    )
    finding = judge(watched, read, begun, recheck_after)
    if finding is Finding.EFFECT:
        ledger.accepted(work, None)
        watched.accepted = True
        finding = judge(watched, read, begun, recheck_after)
    return finding is Finding.SETTLED
