"""Carry out one step wave by wave: first the canary, then the next wave after the previous wave has settled."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import anyio

from orchestrator.audit.events import Event
from orchestrator.engine.follow_up import plan_follow_up
from orchestrator.engine.job import Job
from orchestrator.engine.run_control import RunControl
from orchestrator.engine.wave import Wave
from orchestrator.moment import timestamp
from orchestrator.outcome import ENDS_THE_RUN, Ending
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits


async def roll_out(course: RunControl, step: PlannedStep) -> None:
    """Carry out the open targets of a step.

    Raises:
        AuditError: when the audit log can't be written.
    """
    if step.follows is not None and step.name not in course.passed and course.ending is None:
        await plan_follow_up(course, step, step.follows)
    jobs = course.of_step(step.name)
    line, limits = course.line, step.limits.within(course.limits)
    with line.gate.held_to(limits.max_in_flight, step.limits.requests_per_second, limits.adaptive):
        begun = line.clock.now()
        for number in sorted({work.wave for work in jobs}):
            wave = [work for work in jobs if work.wave == number]
            if course.ending is None and line.clock.now() - begun > line.settle.look_again_after:
                await course.look_again(wave)
            if course.ending in {None, Ending.MAX_FAILURES} and course.cut_by is None:
                await _carry_out(course, step, limits, wave, len(jobs))
            if course.ending is None:
                await _look_back(course, step, jobs, number)


async def _carry_out(course: RunControl, step: PlannedStep, limits: RunLimits, jobs: Sequence[Job], whole: int) -> None:
    ended = course.ending is not None  # decided in an earlier part of the run: only watch the requests already sent
    open_works = [work for work in jobs if work.outcome is None and (work.under_way or not ended)]
    if not open_works:
        return
    course.wave = wave = Wave(
        course.line,
        step,
        limits,
        key_refused=lambda: course.halt(Ending.KEY_REFUSED),
        failed=partial(course.count_failures, step, whole),
        ending=lambda: course.ending,
    )
    if ended:
        wave.halt(at_once=True, stop_watching=False)
    await wave.run(open_works)
    course.cut_short = course.cut_short or wave.cut_short
    course.wave = None


async def _look_back(course: RunControl, step: PlannedStep, jobs: Sequence[Job], number: int) -> None:
    """Check the finished waves before the next wave; end the run after a failure.

    A failure in the canary ends the run. With `on_failure: stop`, a failure in any wave ends the run. First the status
    of every settled CVM so far is read once more. There is no check once a later wave has begun, also in an earlier
    part of the run: the decision was made then.
    """
    ahead = [work for work in jobs if work.wave > number]
    if any(work.attempts for work in ahead) or all(work.outcome is not None for work in ahead):
        return
    behind = [work for work in jobs if work.wave <= number]
    await _soak(course, step, number, begun=any(work.attempts for work in behind))
    await course.sweep(behind)
    if course.ending is not None:
        return
    course.count_failures(step, len(jobs))  # CVMs running again count as failures too
    wrong = {work.wave for work in behind if work.outcome in ENDS_THE_RUN and not work.taken_up}
    if min(work.wave for work in jobs) in wrong:
        course.halt(Ending.CANARY_FAILED)
    elif wrong and step.on_failure == "stop":
        course.halt(Ending.STEP_FAILED)


async def _soak(course: RunControl, step: PlannedStep, number: int, *, begun: bool) -> None:
    """Wait for the soak time after a wave; a resumed run waits for the rest of the soak time."""
    if step.soak is None or not begun or course.ending is not None:
        return
    clock, ledger, wave = course.line.clock, course.line.ledger, (step.name, number)
    if wave not in course.soaks:
        course.soaks[wave] = clock.wall() + timedelta(seconds=step.soak)
        ledger.about_step(Event.WAVE_SOAKING, step.name, wave=number, until=timestamp(course.soaks[wave]))
        await ledger.flush()
    left = (course.soaks[wave] - clock.wall()).total_seconds()
    with course.wait(min(step.soak, left)):
        await anyio.sleep_forever()
