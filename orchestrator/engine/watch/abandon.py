"""Abandon a run: a status read decides the outcome of every open request. No request is sent."""

from collections.abc import Mapping

from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.read.status import Observation
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_status
from orchestrator.outcome import Ending, Outcome
from orchestrator.reply import StatusRead


def close_open(
    ledger: Ledger, seen: Mapping[str, Observation], recheck_after: float, ending: Ending = Ending.ABANDONED
) -> None:
    """Give an outcome to every open target with a request; targets without a request stay open.

    Args:
        ledger: the ledger with the targets.
        seen: the status of every open target by the CVM's key, read at least `recheck_after` after its last request.
        recheck_after: the longest lag of a status, in seconds.
        ending: the ending of the run, for the reason.
    """
    for job in ledger.jobs:
        if job.phase is RequestPhase.UNANSWERED:
            ledger.record_unanswered(job, "the process ended before the answer was on record")
        if job.outcome is None and (job.is_under_way or job.billed):
            each = seen[job.ref.key]
            if each.read is None:
                ledger.record_outcome(job, job.outcome_if_deleted, "no such CVM any more: it was deleted meanwhile")
                continue
            ledger.record_status(job, each.read)
            if _has_settled(ledger, job, each.read, each.begun, recheck_after):
                ledger.record_outcome(job, Outcome.SETTLED)
            else:
                open_yet = f"the run was {ending} while the outcome of its {job.action} was open"
                ledger.record_outcome(job, Outcome.UNSETTLED, f"{open_yet}; last seen {each.read.status!r}")


def _has_settled(ledger: Ledger, job: Job, read: StatusRead, begun: float, recheck_after: float) -> bool:
    """Whether the CVM has the wanted status; records the effect of a request proved by the status."""
    if not job.is_under_way:  # the shutdown was accepted, and the planned stop was never sent
        return read.down
    watched = WatchState(
        before=job.before,
        since=float("-inf"),  # the read came late enough to decide about every request
        deadline=begun,
        is_accepted=job.is_accepted,
        is_shared=job.batch is not None,
        action=job.action,
        follows_shutdown=job.escalated_at is not None,
    )
    finding = evaluate_status(watched, read, begun, recheck_after)
    if finding is Finding.EFFECT:
        ledger.record_acceptance(job, None)
        watched.is_accepted = True
        finding = evaluate_status(watched, read, begun, recheck_after)
    return finding is Finding.SETTLED
