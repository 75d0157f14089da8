"""Follow-up steps: choose CVMs by the outcomes of an earlier step, at the beginning of the follow-up step."""

from collections.abc import Iterable

from orchestrator.engine.job import Job
from orchestrator.engine.run_control import RunControl
from orchestrator.playbook.order import rank_target
from orchestrator.playbook.resolved_steps import FollowUp, PlannedStep
from orchestrator.playbook.waves import number_waves


async def plan_follow_up(control: RunControl, step: PlannedStep, follows: FollowUp) -> None:
    """Choose the CVMs of a follow-up step by their present state, and record the choice.

    Raises:
        AuditError: when the audit log can't be written.
    """
    await control.verify_settled(control.jobs_of_step(follows.step))
    if control.ending is not None:
        return
    sources = follow_up_sources(follows, control.jobs)
    jobs = _sort_jobs(step, [source.create_follow_up(step) for source in sources])
    control.context.ledger.record_follow_up(step, sources, jobs)
    control.passed.add(step.name)
    await control.context.ledger.flush()
    await control.refresh_statuses(jobs)


def follow_up_sources(follows: FollowUp, jobs: Iterable[Job]) -> list[Job]:
    """Targets of the earlier step for the follow-up step, without targets already taken by another step."""
    return [job for job in jobs if not job.is_superseded and follows.covers_cvm(job.step, job.outcome, job.ref.key)]


def _sort_jobs(step: PlannedStep, jobs: list[Job]) -> list[Job]:
    """Sort the chosen targets into the step's order and assign their waves."""
    by = step.order_by
    if by is not None:
        jobs.sort(key=lambda job: rank_target(by, job.ref, job.note.rates.compute))
    for job, wave in zip(jobs, number_waves(step.waves or (), len(jobs)), strict=True):
        job.wave = wave
    return jobs
