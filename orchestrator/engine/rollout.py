"""Carry out one step wave by wave: first the canary, then the next wave after the previous wave has settled."""

from collections.abc import Sequence
from datetime import timedelta

import anyio

from orchestrator.audit.events import Event
from orchestrator.engine.follow_up import plan_follow_up
from orchestrator.engine.job import Job
from orchestrator.engine.run_control import RunControl
from orchestrator.engine.wave import Wave
from orchestrator.moment import timestamp
from orchestrator.outcome import ENDS_THE_RUN, Ending
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits


async def roll_out(control: RunControl, step: PlannedStep) -> None:
    """Carry out the open targets of a step.

    Raises:
        AuditError: when the audit log can't be written.
    """
    if step.follows is not None and step.name not in control.passed and control.ending is None:
        await plan_follow_up(control, step, step.follows)
    jobs = control.jobs_of_step(step.name)
    context, limits = control.context, step.limits.within(control.context.limits)
    with control.workspace.gate.limited_to(limits.max_in_flight, step.limits.requests_per_second, limits.adaptive):
        begun = context.clock.now()
        for number in sorted({job.wave for job in jobs}):
            wave = [job for job in jobs if job.wave == number]
            if control.ending is None and context.clock.now() - begun > context.settle.refresh_after:
                await control.refresh_statuses(wave)
            if control.ending in {None, Ending.MAX_FAILURES} and control.cut_by is None:
                await _carry_out(control, step, limits, wave)
            if control.ending is None:
                await _check_waves(control, step, jobs, number)


async def _carry_out(control: RunControl, step: PlannedStep, limits: RunLimits, jobs: Sequence[Job]) -> None:
    ended = control.ending is not None  # decided in an earlier part of the run: only watch the requests already sent
    open_jobs = [job for job in jobs if job.outcome is None and (job.is_under_way or not ended)]
    if not open_jobs:
        return
    control.wave = wave = Wave(control.context, control.workspace, step, limits, control)
    if ended:
        wave.halt(at_once=True, stop_watching=False)
    await wave.run(open_jobs)
    control.cut_short = control.cut_short or wave.cut_short
    control.wave = None


async def _check_waves(control: RunControl, step: PlannedStep, jobs: Sequence[Job], number: int) -> None:
    """Check the finished waves before the next wave; end the run after a failure.

    A failure in the canary ends the run. With `on_failure: stop`, a failure in any wave ends the run. First the status
    of every settled CVM so far is read once more. There is no check once a later wave has begun, also in an earlier
    part of the run: the decision was made then.
    """
    ahead = [job for job in jobs if job.wave > number]
    if any(job.attempts for job in ahead) or all(job.outcome is not None for job in ahead):
        return
    behind = [job for job in jobs if job.wave <= number]
    await _wait_for_soak(control, step, number, begun=any(job.attempts for job in behind))
    await control.verify_settled(behind)
    if control.ending is not None:
        return
    control.count_failures(step)  # CVMs running again count as failures too
    wrong = {job.wave for job in behind if job.outcome in ENDS_THE_RUN and not job.is_superseded}
    if min(job.wave for job in jobs) in wrong:
        control.halt(Ending.CANARY_FAILED)
    elif wrong and step.on_failure == "stop":
        control.halt(Ending.STEP_FAILED)


async def _wait_for_soak(control: RunControl, step: PlannedStep, number: int, *, begun: bool) -> None:
    """Wait for the soak time after a wave; a resumed run waits for the rest of the soak time."""
    if step.soak is None or not begun or control.ending is not None:
        return
    clock, ledger, wave = control.context.clock, control.context.ledger, (step.name, number)
    if wave not in control.soaks:
        control.soaks[wave] = clock.wall() + timedelta(seconds=step.soak)
        ledger.record_step_event(Event.WAVE_SOAKING, step.name, wave=number, until=timestamp(control.soaks[wave]))
        await ledger.flush()
    left = (control.soaks[wave] - clock.wall()).total_seconds()
    with control.interruptible_wait(min(step.soak, left)):
        await anyio.sleep_forever()
