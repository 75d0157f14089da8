"""What the agenda decides: plain functions, held against firings counted by hand and at random."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.moment import timestamp
from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.schedule import Schedule
from orchestrator.service.agenda import COUNTED, GRACE, LeaveOut, Miss, Snooze, Start, coming, decide, due
from orchestrator.service.memory import Mark

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def table(cron: str = "0 * * * *", **more: Any) -> Timetable:  # noqa: ANN401 - what a schedule takes
    return Timetable("x", Schedule.model_validate({"cron": cron, "timezone": "UTC", **more}))


def since(moment: datetime) -> Mark:
    return Mark(moment, moment)


def test_at_its_very_moment_a_firing_is_due_and_a_microsecond_before_it_is_not() -> None:
    mark = since(NOON - 10 * MINUTE)
    assert [each.planned for each in due(table(), mark, (), NOON).in_time] == [NOON]
    before = due(table(), mark, (), NOON - timedelta(microseconds=1))
    assert (before.in_time, before.coming and before.coming.planned) == ((), NOON)


def test_a_firing_that_is_late_by_more_than_the_grace_was_missed() -> None:
    mark = since(NOON - 10 * MINUTE)
    assert due(table(), mark, (), NOON + GRACE).count == 0
    late = due(table(), mark, (), NOON + GRACE + SECOND)
    assert (late.count, late.in_time, [each.planned for each in late.missed]) == (1, (), [NOON])


def test_what_is_planned_and_waits_for_its_jitter_comes_next() -> None:
    jittered = table("0 0 * * *", jitter="10h")
    midnight = NOON.replace(hour=0)
    found = due(jittered, since(midnight - SECOND), (), midnight + SECOND)
    assert found.coming is not None
    assert (found.coming.planned, found.in_time, found.missed) == (midnight, (), ())


def test_what_was_decided_before_the_clock_was_set_back_is_not_due_again() -> None:
    decided = {timestamp(NOON)}
    found = due(table(), since(NOON - 10 * MINUTE), decided, NOON)
    assert (found.in_time, found.coming and found.coming.planned) == ((), NOON + HOUR)
    following = coming(table(), since(NOON - 10 * MINUTE), decided, NOON - 5 * MINUTE)
    assert following is not None
    assert following.planned == NOON + HOUR


def test_very_many_missed_firings_are_found_without_looking_at_each() -> None:
    found = due(table("* * * * *", on_missed="run_once"), since(NOON - timedelta(days=300)), (), NOON + 30 * SECOND)
    assert found.count == COUNTED
    assert [each.planned for each in found.in_time] == [NOON]
    assert found.missed[-1].planned == NOON - MINUTE
    assert found.missed[0].planned == NOON - timedelta(days=300) + MINUTE


def test_nothing_is_made_up_for_that_was_due_more_than_400_days_ago() -> None:
    yearly = table("0 0 1 1 *", on_missed="run_once")
    found = due(yearly, since(NOON - timedelta(days=5000)), (), NOON.replace(year=2028, month=12))
    assert [each.planned.year for each in found.missed] == [2028]


def test_a_snooze_leaves_out_what_lies_in_it_and_nothing_begins_while_it_lasts() -> None:
    snooze = Snooze(NOON - 150 * MINUTE, NOON + 30 * MINUTE)
    catching_up = table(on_missed="run_once")
    now = NOON + 10 * MINUTE
    found = due(catching_up, since(NOON - 5 * HOUR + SECOND), (), now)
    (step,) = decide(catching_up, found, now, snooze, runs=False, waits=False)
    assert isinstance(step, LeaveOut)
    assert (step.reason, step.count, step.firing.planned) == ("snoozed", 5, NOON)
    # Once it is over, what was missed before it is made up for.
    later = NOON + 40 * MINUTE
    found = due(catching_up, since(NOON - 5 * HOUR + SECOND), (), later)
    left, start = decide(catching_up, found, later, snooze, runs=False, waits=False)
    assert isinstance(left, LeaveOut)
    assert isinstance(start, Start)
    assert (left.count, start.missed, start.firing.planned) == (3, 2, NOON - 3 * HOUR)


@given(
    minutes=st.integers(1, 59),
    down=st.integers(0, 3 * 86400),
    on_missed=st.sampled_from(["skip", "run_once"]),
    on_overlap=st.sampled_from(["skip", "queue"]),
    busy=st.sampled_from([(False, False), (True, False), (True, True)]),
)
def test_whatever_was_missed_at_most_one_run_makes_up_for_it(
    minutes: int, down: int, on_missed: str, on_overlap: str, busy: tuple[bool, bool]
) -> None:
    runs, waits = busy
    schedule = table(f"*/{minutes} * * * *", on_missed=on_missed, on_overlap=on_overlap)
    now = NOON + down * SECOND
    found = due(schedule, since(NOON), (), now)
    steps = decide(schedule, found, now, None, runs=runs, waits=waits)
    starts = [step for step in steps if isinstance(step, Start)]
    late = [step for step in starts if now - step.firing.moment > GRACE]
    assert len(late) <= (on_missed == "run_once" and not found.in_time)
    assert sum(not step.waits for step in starts) <= (not runs)
    assert sum(step.waits for step in starts) <= (on_overlap == "queue" and not waits)
    assert sum(isinstance(step, Miss) for step in steps) == (on_missed == "skip" and bool(found.missed))
    accounted = sum(step.missed for step in starts) + sum(step.count for step in steps if isinstance(step, Miss))
    if starts and found.missed:
        assert accounted == found.count
    planned = [step.last.planned if isinstance(step, Miss) else step.firing.planned for step in steps]
    assert planned == sorted(planned)
    everything = (*found.missed, *found.in_time)
    assert not everything or max(planned) == everything[-1].planned
