"""A run that asks a person, on virtual time: it waits, goes on, ends, or is interrupted and asks anew."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.engine.protocols import Answer
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, Message, PlannedStep, Question
from orchestrator.reply import StatusRead
from orchestrator.times import timestamp
from tests.engine.fakes import EPOCH, FakeCloud, Fleet, work_of

pytestmark = pytest.mark.anyio

YES = Answer(approved=True, by="ann@desk", via="terminal", comment="all green")
NO = Answer(approved=False, by="bob@desk", via="approve")
HOUR = 3600.0


class Person:
    """Somebody who answers after a while, or never."""

    def __init__(self, answer: Answer | None = None, after: float = 1e9) -> None:
        self.asked: list[tuple[str, str, datetime]] = []
        self._answer, self._after = answer, after

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        self.asked.append((step, question, expires_at))
        await anyio.sleep(self._after)
        return self._answer

    def find_answer(self) -> Answer | None:
        return None


def fleet_of(cloud: FakeCloud, person: Person | None, *, first: int = 1, passed: Collection[str] = ()) -> Fleet:
    """`first` CVMs in the step before the question, the others in the one after it."""
    jobs = [work_of(ref, step="first" if n < first else "rest") for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, jobs=jobs, approver=person, passed=passed)
    rest = [Question("look", "Go on?", HOUR), PlannedStep("rest", Action.STOP, 600)]
    fleet.steps = [PlannedStep("first", Action.STOP, 600), *rest]  # type: ignore[list-item] # steps of any kind
    return fleet


async def test_what_comes_after_the_question_is_sent_after_the_yes_and_not_before() -> None:
    cloud, person = FakeCloud(3), Person(YES, after=600)
    fleet = fleet_of(cloud, person)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 3})
    (requested,), (answered,) = fleet.trail.of("approval.requested"), fleet.trail.of("approval.answered")
    assert requested["at"] > cloud.effects["web-0"][0]
    assert answered["at"] - requested["at"] == 600
    assert min(cloud.effects["web-1"] + cloud.effects["web-2"]) >= answered["at"]
    said = {"step": "look", "answer": "approved", "by": "ann@desk", "via": "terminal", "comment": "all green"}
    assert {key: answered[key] for key in said} == said


async def test_an_answer_through_a_team_store_is_recorded_with_the_user_of_the_database() -> None:
    fleet = fleet_of(FakeCloud(2), Person(replace(YES, db_user="oli"), after=1))
    await fleet.go()
    (answered,) = fleet.trail.of("approval.answered")
    assert (answered["by"], answered["db_user"]) == ("ann@desk", "oli")


async def test_the_question_is_on_disk_when_it_is_asked_and_says_until_when() -> None:
    person = Person(YES, after=0)
    fleet = fleet_of(FakeCloud(2), person)
    await fleet.go()
    (requested,) = fleet.trail.of("approval.requested")
    expires_at = EPOCH + timedelta(seconds=requested["at"] + HOUR)
    assert (requested["step"], requested["question"]) == ("look", "Go on?")
    assert requested["expires_at"] == timestamp(expires_at)
    assert person.asked == [("look", "Go on?", expires_at)]
    assert "comment" in fleet.trail.of("approval.answered")[0]


@pytest.mark.parametrize(("first", "code"), [(1, Exit.ENDED_EARLY), (0, Exit.GUARD)])
async def test_a_no_ends_the_run_for_good_and_3_says_that_nothing_was_sent(first: int, code: Exit) -> None:
    cloud = FakeCloud(3)
    fleet = fleet_of(cloud, Person(NO, after=5), first=first)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.NOT_APPROVED, code)
    assert not result.ending.resumable
    assert len(cloud.posts) == first
    assert fleet.outcomes().get("not_sent") == 3 - first
    last = fleet.trail.records[-1]
    assert (last["event"], last["ending"]) == ("run.finished", "not_approved")
    answered = fleet.trail.of("approval.answered")[0]
    assert (answered["answer"], answered["by"], "comment" in answered) == ("refused", "bob@desk", False)


async def test_an_answer_that_is_there_when_the_time_is_over_counts() -> None:
    class Late(Person):
        def find_answer(self) -> Answer | None:
            return YES

    fleet = fleet_of(FakeCloud(2), Late())
    assert (await fleet.go()).exit_code is Exit.OK
    (requested,), (answered,) = fleet.trail.of("approval.requested"), fleet.trail.of("approval.answered")
    assert (answered["at"] - requested["at"], answered["answer"]) == (HOUR, "approved")


async def test_nobody_is_waited_for_any_longer_than_the_playbook_says() -> None:
    fleet = fleet_of(FakeCloud(2), Person())
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.NOT_APPROVED, Exit.ENDED_EARLY)
    (requested,), (answered,) = fleet.trail.of("approval.requested"), fleet.trail.of("approval.answered")
    assert answered["at"] - requested["at"] == HOUR
    assert (answered["answer"], answered["by"], answered["via"]) == ("timed_out", None, None)


@pytest.mark.parametrize("person", [None, Person(None, after=60)], ids=["nobody there", "too late by the time of day"])
async def test_a_question_that_nobody_can_answer_any_more_counts_as_refused(person: Person | None) -> None:
    cloud = FakeCloud(2)
    fleet = fleet_of(cloud, person)
    result = await fleet.go()
    assert result.ending is Ending.NOT_APPROVED
    assert fleet.trail.of("approval.answered")[0]["answer"] == "timed_out"
    assert set(cloud.posts) == {"web-0"}


@pytest.mark.parametrize(("ending", "code"), [(Ending.SIGINT, Exit.SIGINT), (Ending.SIGTERM, Exit.SIGTERM)])
async def test_an_interruption_ends_the_wait_at_once_and_resume_asks_anew(ending: Ending, code: Exit) -> None:
    cloud = FakeCloud(3)
    fleet = fleet_of(cloud, Person())
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(100)
        fleet.run.interrupt(ending)
        await anyio.sleep(1)
        last = fleet.trail.records[-1]
        assert (last["event"], last["exit_code"], last["open"]) == ("run.interrupted", code, 2)
    assert fleet.trail.of("approval.answered") == []
    assert anyio.current_time() < 110

    again = Person(YES, after=10)
    resumed = fleet_of(cloud, again)
    resumed.jobs[0].outcome = fleet.jobs[0].outcome
    begun = anyio.current_time()
    result = await resumed.go()
    assert (result.exit_code, len(again.asked)) == (Exit.OK, 1)
    assert again.asked[0][2] >= EPOCH + timedelta(seconds=begun + HOUR), "it has its whole time again"
    assert cloud.posts == {"web-0": 1, "web-1": 1, "web-2": 1}


async def test_leaving_at_once_while_it_asks_leaves_a_log_that_can_be_gone_on_with() -> None:
    fleet = fleet_of(FakeCloud(2), Person())
    with anyio.move_on_after(100):
        await fleet.go()
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
    assert fleet.trail.durable == len(fleet.trail.records)


async def test_what_was_approved_is_not_asked_again() -> None:
    person = Person(NO, after=0)
    fleet = fleet_of(FakeCloud(2), person, passed={"look"})
    assert (await fleet.go()).exit_code is Exit.OK
    assert person.asked == []
    assert fleet.trail.of("approval.requested") == []


async def test_after_a_long_wait_statuses_are_read_anew_and_who_is_down_by_then_is_left_alone() -> None:
    cloud = FakeCloud(3)
    cloud.status_script = lambda ref, _since: (
        StatusRead("stopped") if ref.name == "web-2" and anyio.current_time() > 60 else None
    )
    fleet = fleet_of(cloud, Person(YES, after=1800))
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 2, "skipped": 1})
    assert "web-2" not in cloud.posts


@pytest.mark.parametrize(("seconds", "is_read"), [(60, False), (61, True)])
async def test_statuses_are_read_anew_only_after_a_longer_wait_than_their_age_allows(
    seconds: float, is_read: bool
) -> None:
    cloud = FakeCloud(2)
    await anyio.sleep(1000)  # the time of the question counts, not the time of the process
    cloud.status_script = lambda ref, _since: StatusRead("stopped") if ref.name == "web-1" else None
    fleet = fleet_of(cloud, Person(YES, after=seconds), first=0)
    await fleet.go()
    assert ("web-1" not in cloud.posts) is is_read


@pytest.mark.parametrize("ending", [Ending.MAX_FAILURES, Ending.SIGINT])
async def test_a_run_ended_by_others_while_the_question_is_open_waits_no_longer_and_takes_no_answer(
    ending: Ending,
) -> None:
    class Late(Person):
        def find_answer(self) -> Answer | None:
            return YES if ending is Ending.SIGINT else None

    cloud = FakeCloud(2)
    fleet = fleet_of(cloud, Late(), first=0)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(100)
        fleet.run._control.halt(ending)
    assert anyio.current_time() < 110
    assert (fleet.trail.of("approval.answered"), dict(cloud.posts)) == ([], {})


async def test_a_question_behind_which_no_step_has_a_cvm_is_not_asked_and_that_is_on_record() -> None:
    person = Person(NO, after=0)
    fleet = fleet_of(FakeCloud(2), person, first=2)
    assert (await fleet.go()).exit_code is Exit.OK
    assert person.asked == []
    (notice,) = fleet.trail.of("notice")
    assert (notice["step"], notice["message"]) == ("look", "not asked, since nothing is left to do after it: Go on?")


FOLLOWS = PlannedStep("rest", Action.STOP, 600, follows=FollowUp("first", frozenset({Outcome.FAILED})))


@pytest.mark.parametrize(
    "behind",
    [[], [Message("tell", "on we go")], [FOLLOWS]],
    ids=["the last word is a person's", "a message would be sent", "an earlier result may be taken up"],
)
async def test_a_question_with_anything_else_behind_it_is_asked(behind: list[AnyPlanned]) -> None:
    person = Person(YES, after=0)
    fleet = fleet_of(FakeCloud(2), person, first=2)
    fleet.steps = [*fleet.steps[:2], *behind]  # type: ignore[list-item] # steps of any kind
    assert (await fleet.go()).exit_code is Exit.OK
    assert len(person.asked) == 1


@pytest.mark.parametrize("behind", [[], [Message("tell", "on we go")]])
async def test_a_no_to_the_last_question_is_one_too_and_no_message_follows_it(behind: list[AnyPlanned]) -> None:
    fleet = fleet_of(FakeCloud(2), Person(NO, after=0), first=2)
    fleet.steps = [*fleet.steps[:2], *behind]  # type: ignore[list-item] # steps of any kind
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.NOT_APPROVED, Exit.ENDED_EARLY)
    assert (fleet.outcomes(), fleet.trail.of("notice")) == ({"settled": 2}, [])


async def test_a_log_that_can_not_be_written_ends_the_run_before_anybody_is_asked() -> None:
    person = Person(YES, after=0)
    fleet = fleet_of(FakeCloud(2), person, first=0)
    fleet.trail.broken = True
    result = await fleet.go()
    assert result.ending is Ending.LOG_FAILED
    assert person.asked == []


async def test_a_no_holds_also_when_the_process_died_before_it_could_end_the_run() -> None:
    cloud, person = FakeCloud(3), Person(YES)
    jobs = [work_of(ref, step="rest") for ref in cloud.refs]
    fleet = Fleet(cloud, jobs=jobs, approver=person, refused=True)
    fleet.steps = [Question("look", "Go on?", HOUR), PlannedStep("rest", Action.STOP, 600)]  # type: ignore[list-item]
    result = await fleet.go()
    assert (result.ending, person.asked, cloud.count("stop")) == (Ending.NOT_APPROVED, [], 0)
