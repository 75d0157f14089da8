"""Targets that changed or became protected before a run was resumed: no further request is sent for them."""

from dataclasses import replace
from typing import Any

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.outcome import Exit, Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import FollowUp, PlannedStep
from orchestrator.reply import StatusRead
from tests.engine.fakes import FakeCloud, Fleet, work_of

pytestmark = pytest.mark.anyio

WHY = Reason(SkipReason.PROTECTED, "name web-*")


def withheld(
    cloud: FakeCloud,
    action: Action = Action.STOP,
    **fields: Any,  # noqa: ANN401 - any field of Work
) -> list[Job]:
    """The first CVM is withheld, and whatever else a test says of it."""
    first, *others = (work_of(ref, action) for ref in cloud.refs)
    return [replace(first, withheld=WHY, **fields), *others]


async def test_a_target_that_waits_is_not_sent_with_the_code_and_the_others_go_on() -> None:
    cloud = FakeCloud(3)
    fleet = Fleet(cloud, jobs=withheld(cloud))
    fleet.run.apply_statuses({})
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"not_sent": 1, "settled": 2})
    assert set(cloud.posts) == {"web-1", "web-2"}
    (ended,) = fleet.trail.of("target.failed")
    assert (ended["outcome"], ended["code"], ended["reason"]) == ("not_sent", "protected", "protected by name web-*")


async def test_a_target_that_is_as_wanted_already_is_skipped_whatever_else_is_true_of_it() -> None:
    cloud = FakeCloud(2, seconds=0)
    cloud.take_effect(cloud.refs[0])
    fleet = Fleet(cloud, jobs=withheld(cloud))
    await anyio.sleep(1)
    fleet.run.apply_statuses(await fleet.run.reader.read_statuses(cloud.refs[:1]))
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"skipped": 1, "settled": 1})


@pytest.mark.parametrize("had_an_effect", [True, False])
async def test_a_request_of_unknown_outcome_is_watched_and_not_repeated(*, had_an_effect: bool) -> None:
    cloud = FakeCloud(2)
    if had_an_effect:
        cloud.take_effect(cloud.refs[0])
    fleet = Fleet(cloud, jobs=withheld(cloud, attempts=1, phase=RequestPhase.IN_DOUBT))
    fleet.run.apply_statuses({})
    result = await fleet.go()
    first = {"settled": 2} if had_an_effect else {"not_sent": 1, "settled": 1}
    assert (fleet.outcomes(), result.exit_code) == (first, Exit.OK if had_an_effect else Exit.FAILED)
    assert set(cloud.posts) == {"web-1"}


async def test_an_accepted_request_is_watched_to_its_end() -> None:
    cloud = FakeCloud(2)
    cloud.take_effect(cloud.refs[0])
    fleet = Fleet(
        cloud, jobs=withheld(cloud, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=anyio.current_time())
    )
    fleet.run.apply_statuses({})
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 2})


@pytest.mark.parametrize("escalated", [True, False])
async def test_a_shutdown_that_takes_too_long_is_not_followed_by_a_stop(*, escalated: bool) -> None:
    """Neither where the stop is decided on now, nor where it was decided on before the run was resumed."""
    cloud = FakeCloud(1)
    cloud.take_effect(cloud.refs[0], Action.SHUTDOWN)
    cloud.status_script = lambda _ref, _since: StatusRead("shutting_down", True)
    jobs = withheld(
        cloud, Action.SHUTDOWN, attempts=1, billed=True, phase=RequestPhase.ACCEPTED, accepted_at=anyio.current_time()
    )
    if escalated:
        jobs[0].switch_action(anyio.current_time())
    fleet = Fleet(cloud, jobs=jobs, action=Action.SHUTDOWN)
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=5.0)]
    fleet.run.apply_statuses(await fleet.run.reader.read_statuses(cloud.refs))
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes(), cloud.count("stop")) == (Exit.UNSETTLED, {"unsettled": 1}, 0)
    (ended,) = fleet.trail.of("target.failed")
    assert "protected by name web-*" in ended["reason"]


async def test_a_later_step_that_takes_up_a_result_leaves_the_cvm_alone_as_well() -> None:
    cloud = FakeCloud(1)
    jobs = withheld(cloud, outcome=Outcome.SETTLED, attempts=1)
    cloud.take_effect(cloud.refs[0])
    fleet = Fleet(cloud, jobs=jobs)
    follows = FollowUp("stop", frozenset({Outcome.SETTLED}))
    fleet.steps.append(PlannedStep("again", Action.START, 600, follows=follows))
    await anyio.sleep(5)
    fleet.run.apply_statuses({})
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"not_sent": 1})
    assert cloud.count("start") == 0
