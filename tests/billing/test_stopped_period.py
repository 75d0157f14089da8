"""When CVMs stood still, by what logs tell."""

import itertools
import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.billing.stopped_period import LAG, End, Power, SeenUp, Started, WentDown, find_stopped_periods
from tests.billing.stops import CLOUD, at, down, gone, ref, seen, started

NOW = at(100)


def spans(*events: Power) -> list[tuple[float, float, End]]:
    """Begin and end of each standstill in hours."""
    hour = timedelta(hours=1)
    return [
        ((each.begin - at(0)) / hour, (each.end - at(0)) / hour, each.how) for each in find_stopped_periods(events, NOW)
    ]


def test_a_cvm_stands_still_from_its_stop_to_its_start() -> None:
    assert spans(down(1), started(5)) == [(1, 5, End.STARTED)]


def test_without_a_start_on_record_it_stands_still_until_now() -> None:
    assert spans(started(0), down(1)) == [(1, 100, End.OPEN)]


def test_a_second_stop_without_a_start_in_between_begins_nothing() -> None:
    assert spans(down(1), down(3), started(5), down(7)) == [(1, 5, End.STARTED), (7, 100, End.OPEN)]


def test_a_start_that_nobody_recorded_ends_it_when_a_list_first_shows_the_cvm_running() -> None:
    assert spans(down(1), seen(6), seen(8)) == [(1, 6, End.SEEN)]


def test_a_list_that_was_read_before_the_cvm_was_down_says_nothing_however_late_it_is_written_down() -> None:
    assert spans(down(1), seen(1.1, read=0.9)) == [(1, 100, End.OPEN)]
    assert spans(down(1, after=0.5), seen(1.6, read=1.4)) == [(1, 100, End.OPEN)]
    assert spans(down(1, after=0.5), seen(1.6, read=1.55)) == [(1, 1.6, End.SEEN)]
    lag = LAG / timedelta(hours=1)
    assert spans(down(1), seen(2, read=1 + lag / 2)) == [(1, 100, End.OPEN)]
    assert spans(down(1), seen(2, read=1 + 2 * lag)) == [(1, 2, End.SEEN)]


def test_a_deleted_cvm_does_not_stand_still() -> None:
    assert spans(down(1), gone(4)) == [(1, 4, End.DELETED)]


def test_what_lies_after_now_is_left_out() -> None:
    assert spans(down(1), started(101), down(102)) == [(1, 100, End.OPEN)]


def test_a_cvm_is_the_same_by_hashid_and_by_uuid_with_and_without_dashes() -> None:
    uuid = "0000000000004000800000000000000a"
    dashed = "00000000-0000-4000-8000-00000000000A"
    both = replace(ref(), id="cvm_a", vm_uuid=dashed)
    by_hashid, by_uuid = replace(both, vm_uuid=None), replace(both, id=None, vm_uuid=uuid)
    assert spans(down(1, cvm=by_uuid), seen(5, cvm=both), down(7, cvm=by_hashid), seen(9, cvm=by_uuid)) == [
        (1, 5, End.SEEN),
        (7, 9, End.SEEN),
    ]
    assert (
        len(find_stopped_periods([down(1, cvm=by_uuid), down(1, cvm=by_hashid)], NOW)) == 2
    )  # nothing says that they are one
    assert len(find_stopped_periods([down(1, cvm=by_uuid), down(1, cvm=by_hashid), seen(0, cvm=both)], NOW)) == 1


def test_two_clouds_may_give_the_same_id_to_different_cvms() -> None:
    assert spans(down(1, cloud="http://127.0.0.1:1"), started(5)) == [(1, 100, End.OPEN)]


def test_what_is_left_of_a_gpu_minimum_counts_from_the_last_start_on_record() -> None:
    def left(*events: Power) -> list[timedelta]:
        return [each.minimum_left for each in find_stopped_periods(events, NOW)]

    hours = timedelta(hours=1)
    assert left(started(0), down(10, has_gpus=True)) == [14 * hours]
    assert left(started(0), down(30, has_gpus=True)) == [0 * hours]
    assert left(started(0), down(10)) == [0 * hours]
    assert left(down(10, has_gpus=True)) == [0 * hours]
    assert left(started(0), down(10, has_gpus=True), seen(12), down(13, has_gpus=True)) == [14 * hours, 0 * hours]


_EVENTS = st.lists(
    st.tuples(st.sampled_from([down, started, seen, gone]), st.integers(0, 120), st.integers(1, 3)), max_size=25
)


def by_the_clock(events: list[Power], number: int, hours: int) -> list[bool]:
    """Whether the CVM stands still in each hour, found by going through them one by one."""
    still, found = False, []
    for hour in range(hours):
        now = [event for event in events if event.ref == ref(number) and event.at == at(hour)]
        if any(not isinstance(event, WentDown) for event in now):
            still = False
        if any(isinstance(event, WentDown) for event in now):
            still = True
        found.append(still)
    return found


@given(_EVENTS, st.randoms(use_true_random=False))
def test_standstills_are_those_of_a_walk_through_every_hour_in_whatever_order_logs_are_read(
    made: list[tuple[object, int, int]], rng: random.Random
) -> None:
    events: list[Power] = [make(hour, number) for make, hour, number in made]  # type: ignore[operator] # one of four
    rng.shuffle(events)
    found = find_stopped_periods(events, NOW)
    for number in (1, 2, 3):
        mine = [each for each in found if each.stop.ref == ref(number)]
        expected = by_the_clock(events, number, 100)
        assert [any(each.begin <= at(hour) < each.end for each in mine) for hour in range(100)] == expected
        assert sum((each.end - each.begin for each in mine), timedelta(0)) == timedelta(hours=sum(expected))
        assert all(one.end <= other.begin for one, other in itertools.pairwise(mine))


def test_a_restart_on_record_ends_a_standstill_too_and_a_sighting_of_the_same_moment_adds_nothing() -> None:
    events: list[Power] = [Started(CLOUD, ref(), at(5)), SeenUp(CLOUD, ref(), at(5), at(5)), down(1)]
    assert [each.end for each in find_stopped_periods(events, NOW)] == [at(5)]
