"""A run whose process died when more was decided than done: what follows is what would have followed."""

import pytest

from orchestrator.action import Action
from orchestrator.engine.job import RequestPhase
from orchestrator.engine.read.status import Observation
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.resolved_steps import OwnLimits, PlannedStep
from orchestrator.playbook.value_types import Share
from orchestrator.reply import StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio


def left_with_failures(cloud: FakeCloud, *, run: str | None, step: str | None) -> Fleet:
    """One failed, one accepted, one in doubt, the others not asked; and a second step that was not begun."""
    jobs = [work_of(ref, step="first" if n < 4 else "second") for n, ref in enumerate(cloud.refs)]
    jobs[0].attempts, jobs[0].first_sent, jobs[0].outcome = 1, -10.0, Outcome.FAILED
    jobs[1].attempts, jobs[1].first_sent = 1, -10.0
    jobs[1].mark_accepted(-10.0)
    jobs[2].attempts, jobs[2].first_sent, jobs[2].phase = 1, -10.0, RequestPhase.IN_DOUBT
    cloud.take_effect(cloud.refs[1])
    cloud.take_effect(cloud.refs[2])
    fleet = Fleet(cloud, jobs=jobs, max_failures=run)
    own = OwnLimits(max_failures=None if step is None else Share.parse(step))
    fleet.steps = [PlannedStep("first", Action.STOP, 600, limits=own), PlannedStep("second", Action.STOP, 600)]
    return fleet


@pytest.mark.parametrize(("run", "step"), [("0", None), (None, "0"), (None, "20%")])
async def test_after_too_many_failures_nothing_more_is_sent_and_what_was_sent_is_watched_to_its_end(
    run: str | None, step: str | None
) -> None:
    cloud = FakeCloud(6)
    fleet = left_with_failures(cloud, run=run, step=step)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.MAX_FAILURES, Exit.ENDED_EARLY)
    assert cloud.posts.total() == 0
    assert fleet.outcomes() == {"failed": 1, "settled": 2, "not_sent": 3}


async def test_a_steps_failures_count_also_when_the_process_died_after_its_last_target() -> None:
    cloud = FakeCloud(6)
    fleet = left_with_failures(cloud, run=None, step="0")
    for job in fleet.jobs[1:4]:
        job.outcome, job.phase = Outcome.SETTLED, RequestPhase.WAITING
        cloud.take_effect(job.ref)
    result = await fleet.go()
    assert (result.ending, cloud.posts.total()) == (Ending.MAX_FAILURES, 0)


async def test_a_steps_failures_that_the_run_went_on_with_do_not_end_it_later() -> None:
    cloud = FakeCloud(6)
    fleet = left_with_failures(cloud, run=None, step="0")
    for job in fleet.jobs[1:4]:
        job.outcome, job.phase = Outcome.SETTLED, RequestPhase.WAITING
        cloud.take_effect(job.ref)
    fleet.jobs[4].attempts = 1
    result = await fleet.go()
    assert (result.exit_code, cloud.posts.total()) == (Exit.FAILED, 2)


@pytest.mark.parametrize(("billed", "outcome"), [(True, "settled"), (False, "skipped")])
async def test_what_goes_down_by_its_own_shutdown_between_escalation_and_stop_is_settled(
    billed: bool, outcome: str
) -> None:
    cloud = FakeCloud(1)
    job = work_of(cloud.refs[0], Action.SHUTDOWN, attempts=1, first_sent=-10.0, billed=billed)
    job.switch_action(-1.0)
    cloud.take_effect(job.ref)
    fleet = Fleet(cloud, jobs=[job])
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=5)]
    fleet.run.apply_statuses({job.ref.key: Observation(StatusRead("stopped"), 0.0)})
    await fleet.go()
    assert (fleet.outcomes(), cloud.posts.total()) == ({outcome: 1}, 0)


async def test_an_accepted_shutdown_is_never_called_not_sent_when_the_run_ends_before_the_stop_that_follows() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda _ref, _attempt: failed(400)
    stubborn = work_of(cloud.refs[0], Action.SHUTDOWN, attempts=1, first_sent=-10.0, billed=True)
    stubborn.switch_action(-1.0)
    lost = work_of(cloud.refs[1], Action.SHUTDOWN, attempts=1, first_sent=-10.0, outcome=Outcome.FAILED)
    fleet = Fleet(cloud, jobs=[stubborn, lost], max_failures="0")
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=5)]
    result = await fleet.go()
    assert (result.ending, fleet.outcomes()) == (Ending.MAX_FAILURES, {"failed": 1, "unsettled": 1})
    assert fleet.trail.of("target.failed")[-1]["reason"] == "the run ended before the force-stop"


@pytest.mark.parametrize("phase", [RequestPhase.WAITING, RequestPhase.IN_DOUBT], ids=["never sent", "had no effect"])
async def test_whoever_was_not_asked_by_the_part_of_the_run_that_died_is_asked_before_the_power_is_pulled(
    phase: RequestPhase,
) -> None:
    cloud = FakeCloud(1)
    job = work_of(cloud.refs[0], Action.SHUTDOWN, attempts=1, first_sent=-3600.0, phase=phase)
    fleet = Fleet(cloud, jobs=[job])
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=30)]
    assert (await fleet.go()).exit_code is Exit.OK
    assert (cloud.count("shutdown"), cloud.count("stop"), fleet.trail.of("action.escalated")) == (1, 0, [])
