"""The operations of a run's own stops, read once after the end of its targets, for a later wake."""

from datetime import timedelta

from orchestrator.audit.replay import RunState
from orchestrator.cvm import UP
from orchestrator.engine.job import Job
from orchestrator.engine.read.operations import read_histories
from orchestrator.engine.send.ledger import Ledger
from orchestrator.playbook.wake import find_own_operations
from orchestrator.runs.session import Session


async def record_own_operations(session: Session, ledger: Ledger, state: RunState) -> None:
    """Read the operation history of every stopped CVM, and record the operations of the run's requests.

    A failed read records nothing: the wake then leaves the CVM alone.

    Args:
        session: the connection to the cloud.
        ledger: the ledger of the run.
        state: the replayed state of the log.
    """
    by_cvm: dict[str, list[Job]] = {}
    for job in ledger.jobs:
        by_cvm.setdefault(job.ref.key, []).append(job)
    stopped = {key: jobs for key, jobs in by_cvm.items() if _is_to_read(jobs, state)}
    refs = [jobs[0].ref for jobs in stopped.values()]
    histories = await read_histories(session.cloud, session.gate, session.rng, refs)
    now, wall = session.clock.now(), session.clock.wall()
    for key, page in histories.pages.items():
        jobs = stopped[key]
        sent = min(job.first_sent for job in jobs if job.first_sent is not None)
        own = find_own_operations(page, wall - timedelta(seconds=now - sent), sum(job.attempts for job in jobs))
        ledger.record_operations(jobs[-1], own)


def _is_to_read(jobs: list[Job], state: RunState) -> bool:
    """Check for a CVM without a record and perhaps taken down by the run."""
    if jobs[0].before != UP or jobs[-1].action.leaves_running:
        return False
    is_read = any(state.targets[job.step, job.ref.key].operations is not None for job in jobs)
    return not is_read and any(job.first_sent is not None and (job.billed or job.is_in_doubt) for job in jobs)
