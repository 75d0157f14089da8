"""A freeze that begins during a run, on virtual time: no wave begins, and waves in progress are finished."""

from datetime import datetime, timedelta

import pytest

from orchestrator.action import Action
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import Message, PlannedStep, Question
from tests.engine.fakes import EPOCH, FakeCloud, Fleet, work_of
from tests.engine.test_questions import YES, Person

pytestmark = pytest.mark.anyio


class Freeze:
    """A freeze from so many seconds after the start."""

    def __init__(self, after: float) -> None:
        self._begins = EPOCH + timedelta(seconds=after)

    def find_freeze(self, at: datetime) -> str | None:
        return "not_during: frozen (FRI 17:00)" if at >= self._begins else None


def waves_of(cloud: FakeCloud, after: float, action: Action = Action.STOP) -> Fleet:
    jobs = [work_of(ref, action, wave=number + 1) for number, ref in enumerate(cloud.refs)]
    return Fleet(cloud, jobs=jobs, action=action, freeze=Freeze(after))


async def test_a_freeze_ends_the_run_before_the_next_wave() -> None:
    cloud = FakeCloud(3, seconds=20)
    fleet = waves_of(cloud, 5)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.FROZEN, Exit.ENDED_EARLY)
    assert fleet.outcomes() == {"settled": 1, "not_sent": 2}
    assert cloud.posts == {"web-0": 1}
    left = fleet.trail.of("target.failed")
    assert {(each["code"], each["reason"]) for each in left} == {
        ("frozen", "the run ended early: not_during: frozen (FRI 17:00)")
    }
    last = fleet.trail.records[-1]
    assert (last["event"], last["ending"], last["freeze"]) == (
        "run.finished",
        "frozen",
        "not_during: frozen (FRI 17:00)",
    )


async def test_a_freeze_before_the_first_request_is_exit_3() -> None:
    cloud = FakeCloud(2)
    result = await waves_of(cloud, 0).go()
    assert (result.ending, result.exit_code, dict(cloud.posts)) == (Ending.FROZEN, Exit.GUARD, {})


async def test_a_freeze_holds_for_restarts_and_not_for_starts() -> None:
    assert (await waves_of(FakeCloud(2), 0, Action.RESTART).go()).ending is Ending.FROZEN
    cloud = FakeCloud(1)
    assert (await waves_of(cloud, 0, Action.START).go()).ending is Ending.COMPLETED
    assert cloud.posts == {"web-0": 1}


async def test_a_freeze_without_anything_left_to_send_changes_nothing() -> None:
    fleet = waves_of(FakeCloud(1, seconds=20), 5)
    assert (await fleet.go()).exit_code is Exit.OK


async def test_a_freeze_that_began_during_a_question_ends_the_run_after_the_answer() -> None:
    cloud = FakeCloud(2)
    jobs = [work_of(ref, step=step) for ref, step in zip(cloud.refs, ("first", "rest"), strict=True)]
    fleet = Fleet(cloud, jobs=jobs, approver=Person(YES, after=3600), freeze=Freeze(600))
    between = [Question("look", "Go on?", 7200), Message("tell", "the rest goes down")]
    first, rest = (PlannedStep(name, Action.STOP, 600) for name in ("first", "rest"))
    fleet.steps = [first, *between, rest]  # type: ignore[list-item] # steps of any kind
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.FROZEN, Exit.ENDED_EARLY)
    assert fleet.trail.of("notice") == []
    assert cloud.posts == {"web-0": 1}
