"""Decisions of the scheduler, compared with firings counted by hand and at random."""

from collections.abc import Container, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playbook.firings import Firing, LeftOut, LeftOutCode, Timetable
from orchestrator.playbook.freeze import Freeze, Times
from orchestrator.playbook.schedule import Schedule
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.scheduler import (
    COUNTED,
    GRACE,
    Decided,
    Miss,
    Skip,
    Snooze,
    Start,
    decide_firings,
    find_due_firings,
    find_success_due,
    forecast_firings,
    forecast_next_firing,
    is_always_frozen,
)
from orchestrator.service.service_state import ScheduleState, ServiceState, Watermark
from orchestrator.times import timestamp

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def table(cron: str = "0 * * * *", **more: Any) -> Timetable:  # noqa: ANN401 - what a schedule takes
    return Timetable("x", Schedule.model_validate({"cron": cron, "timezone": "UTC", **more}))


def since(moment: datetime, decided: Container[str] = ()) -> Decided:
    return Decided(Watermark(moment, moment), decided)


def test_at_its_very_moment_a_firing_is_due_and_a_microsecond_before_it_is_not() -> None:
    mark = since(NOON - 10 * MINUTE)
    assert [each.planned for each in find_due_firings(table(), mark, NOON).in_time] == [NOON]
    before = find_due_firings(table(), mark, NOON - timedelta(microseconds=1))
    assert (before.in_time, before.coming and before.coming.planned) == ((), NOON)


def test_a_firing_that_is_late_by_more_than_the_grace_was_missed() -> None:
    mark = since(NOON - 10 * MINUTE)
    assert find_due_firings(table(), mark, NOON + GRACE).count == 0
    late = find_due_firings(table(), mark, NOON + GRACE + SECOND)
    assert (late.count, late.in_time, [each.planned for each in late.missed]) == (1, (), [NOON])


def test_what_is_planned_and_waits_for_its_jitter_comes_next() -> None:
    jittered = table("0 0 * * *", jitter="10h")
    midnight = NOON.replace(hour=0)
    found = find_due_firings(jittered, since(midnight - SECOND), midnight + SECOND)
    assert found.coming is not None
    assert (found.coming.planned, found.in_time, found.missed) == (midnight, (), ())


def test_what_was_decided_before_the_clock_was_set_back_is_not_due_again() -> None:
    decided = {timestamp(NOON)}
    found = find_due_firings(table(), since(NOON - 10 * MINUTE, decided), NOON)
    assert (found.in_time, found.coming and found.coming.planned) == ((), NOON + HOUR)
    following = forecast_next_firing(table(), since(NOON - 10 * MINUTE, decided), None, NOON - 5 * MINUTE)
    assert following is not None
    assert following.planned == NOON + HOUR


def test_very_many_missed_firings_are_found_without_looking_at_each() -> None:
    found = find_due_firings(
        table("* * * * *", on_missed="run_once"), since(NOON - timedelta(days=300)), NOON + 30 * SECOND
    )
    assert found.count == COUNTED
    assert [each.planned for each in found.in_time] == [NOON]
    assert found.missed[-1].planned == NOON - MINUTE
    assert found.missed[0].planned == NOON - timedelta(days=300) + MINUTE


def test_nothing_is_made_up_for_that_was_due_more_than_400_days_ago() -> None:
    yearly = table("0 0 1 1 *", on_missed="run_once")
    found = find_due_firings(yearly, since(NOON - timedelta(days=5000)), NOON.replace(year=2028, month=12))
    assert [each.planned.year for each in found.missed] == [2028]


def test_a_snooze_leaves_out_what_lies_in_it_and_nothing_begins_while_it_lasts() -> None:
    snooze = Snooze(NOON - 150 * MINUTE, NOON + 30 * MINUTE)
    catching_up = table(on_missed="run_once")
    now = NOON + 10 * MINUTE
    found = find_due_firings(catching_up, since(NOON - 5 * HOUR + SECOND), now)
    (step,) = decide_firings(catching_up, found, now, snooze, runs=False, waits=False)
    assert isinstance(step, Skip)
    assert (step.reason, step.count, step.firing.planned) == ("snoozed", 5, NOON)
    # Once it is over, what was missed before it is made up for.
    later = NOON + 40 * MINUTE
    found = find_due_firings(catching_up, since(NOON - 5 * HOUR + SECOND), later)
    left, start = decide_firings(catching_up, found, later, snooze, runs=False, waits=False)
    assert isinstance(left, Skip)
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
    found = find_due_firings(schedule, since(NOON), now)
    steps = decide_firings(schedule, found, now, None, runs=runs, waits=waits)
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


class Scheduler:
    """The service for a single playbook, without a disk: decides and records, but runs nothing."""

    def __init__(self, timetable: Timetable) -> None:
        self.timetable = timetable
        self.state = ServiceState()
        self.snooze: Snooze | None = None
        self.began: list[tuple[datetime, datetime]] = []
        self.left_out: list[datetime] = []

    def write(self, now: datetime, event: str, **fields: object) -> None:
        self.state.apply({"ts": timestamp(now), "event": event, "playbook": "x", **fields})

    def change(self, now: datetime, timetable: Timetable) -> None:
        """Replace the schedule by another version, as the service does."""
        found = find_due_firings(self.timetable, self.decided, now)
        self.keep(now, (*found.in_time, *found.waiting))
        self.timetable = timetable
        about = {"file": "", "timezone": "UTC", "when": str(timetable.schedule), "left_out": ""}
        self.write(now, "schedule.changed" if "x" in self.state.playbooks else "schedule.enabled", **about)

    @property
    def decided(self) -> Decided:
        return Decided.of(self.state.playbooks["x"])

    def keep(self, now: datetime, planned: Iterable[Firing]) -> None:
        for each in planned:
            self.write(now, "firing.planned", planned=timestamp(each.planned), moment=timestamp(each.moment))

    def step(self, now: datetime) -> None:
        found = find_due_firings(self.timetable, self.decided, now)
        for step in decide_firings(self.timetable, found, now, self.snooze, runs=False, waits=False):
            if isinstance(step, Start):
                self.began.append((step.firing.planned, now))
                claim = FiringClaim("x", step.firing.planned, step.firing.moment, "id").record_fields()
                self.write(now, "firing.claimed", **{key: each for key, each in claim.items() if key != "playbook"})
            elif isinstance(step, Skip):
                self.left_out.append(step.firing.planned)
                self.write(now, "firing.left_out", planned=timestamp(step.firing.planned))
            else:
                pytest.fail(f"{step}")
        self.keep(now, find_due_firings(self.timetable, self.decided, now).waiting)

    def go_on(self, now: datetime, until: datetime) -> None:
        """Decide whenever something is planned or to happen, up to this moment."""
        while now < until:
            self.step(now)
            found = find_due_firings(self.timetable, self.decided, now)
            wakes = [each.moment for each in found.waiting]
            if found.coming is not None:
                wakes.append(found.coming.planned if found.coming.planned > now else found.coming.moment)
            now = min([*wakes, until])
        self.step(until)


SCHEDULES = st.builds(
    lambda minutes, jitter, off: table(f"*/{minutes} * * * *", jitter=f"{jitter}s", not_on=off),
    st.sampled_from([7, 15, 20]),
    st.integers(0, 1500),
    st.sampled_from([[], ["2027-03-02"]]),
)
SNOOZES = st.none() | st.integers(10, 5000)


@given(
    first=SCHEDULES,
    edits=st.lists(st.tuples(st.integers(1, 3000), SCHEDULES, SNOOZES), max_size=4),
    ask=st.integers(1, 2000),
)
def test_the_forecast_is_what_happens(
    first: Timetable, edits: list[tuple[int, Timetable, int | None]], ask: int
) -> None:
    """The forecast holds after random edits and snoozes: next firing, start time and skipped firings."""
    now = NOON.replace(hour=22)
    scheduler = Scheduler(first)
    scheduler.state.playbooks["x"] = ScheduleState("", "UTC", "", "", Watermark(now, now))
    for wait, timetable, snoozed in [*edits, (ask, edits[-1][1] if edits else first, None)]:
        scheduler.go_on(now, now + wait * SECOND)
        now += wait * SECOND
        if timetable.schedule != scheduler.timetable.schedule:
            scheduler.change(now, timetable)
        if snoozed is not None:
            scheduler.snooze = Snooze(now, now + snoozed * SECOND)
    known = (scheduler.timetable, scheduler.decided, scheduler.snooze, now)
    ends = now + 2 * HOUR
    coming = forecast_next_firing(*known)
    listed = [each for each in forecast_firings(*known, end=ends) if (each.moment or each.planned) < ends]
    scheduler.began.clear()
    scheduler.left_out.clear()
    scheduler.go_on(now, ends - timedelta(microseconds=1))
    fires = sorted((each.moment, each.planned) for each in listed if isinstance(each, Firing) and each.moment > now)
    happened = sorted((at, planned) for planned, at in scheduler.began)
    assert happened == fires
    if coming is None or coming.moment >= ends:
        assert happened == []
    else:
        assert happened[0] == (coming.moment, coming.planned)
    snoozed_ones = [each.planned for each in listed if isinstance(each, LeftOut) and each.code is LeftOutCode.SNOOZED]
    assert set(snoozed_ones) == set(scheduler.left_out) & {each.planned for each in listed}


def frozen_table(*on: str, **more: Any) -> Timetable:  # noqa: ANN401 - what a schedule takes
    freeze = Freeze("not_during", Times.model_validate({"timezone": "UTC", "on": list(on)}))
    return replace(table(**more), freezes=(freeze,))


def test_a_firing_in_a_freeze_is_left_out_with_the_entry() -> None:
    frozen = frozen_table("11:30..13:30")
    found = find_due_firings(frozen, since(NOON - 10 * MINUTE), NOON)
    (left,) = decide_firings(frozen, found, NOON, None, runs=False, waits=False)
    assert isinstance(left, Skip)
    assert (left.reason, left.detail) == ("frozen", "frozen by `not_during`: 11:30..13:30, UTC")
    coming = forecast_next_firing(frozen, since(NOON), None, NOON)
    assert coming is not None
    assert coming.planned == NOON + 2 * HOUR
    assert find_success_due(frozen, NOON, None) == NOON + 2 * HOUR
    listed = list(forecast_firings(frozen, since(NOON), None, NOON, end=NOON + 3 * HOUR))
    left_out = [(each.planned, each.code) for each in listed if isinstance(each, LeftOut)]
    assert left_out == [(moment, LeftOutCode.FROZEN) for moment in (NOON, NOON + HOUR)]


def test_a_firing_missed_in_a_freeze_is_not_made_up_for_after_the_freeze() -> None:
    frozen, later = frozen_table("09:30..13:30", on_missed="run_once"), NOON + 110 * MINUTE
    found = find_due_firings(frozen, since(NOON - 4 * HOUR), later)
    assert found.count == 5
    start, left = decide_firings(frozen, found, later, None, runs=False, waits=False)
    assert isinstance(left, Skip)
    assert isinstance(start, Start)
    assert (left.reason, left.count, start.missed, start.firing.planned) == ("frozen", 4, 1, NOON - 3 * HOUR)


@pytest.mark.parametrize("on", ["00:00..24:00", "11:30..13:30"])
def test_a_freeze_of_every_firing_leaves_no_next_firing(on: str) -> None:
    frozen = frozen_table(on, cron="0 12 * * *")
    assert forecast_next_firing(frozen, since(NOON), None, NOON) is None
    assert find_success_due(frozen, NOON, None) is None
    assert is_always_frozen(frozen, NOON)


def test_a_schedule_with_a_free_firing_or_without_firings_is_not_always_frozen() -> None:
    assert not is_always_frozen(frozen_table("2027-03-01..2027-12-31"), NOON)
    assert not is_always_frozen(frozen_table("00:00..24:00", until="2027-01-01"), NOON)
    far = frozen_table("MON..SAT", **{"from": "2029-01-01"})  # a Monday
    coming = forecast_next_firing(far, since(NOON), None, NOON)
    assert coming is not None
    assert coming.planned == datetime(2029, 1, 7, tzinfo=UTC)
