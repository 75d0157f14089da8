"""The rate limit's arithmetic."""

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.rate.gcra import Gcra, with_headroom

TINY = 1e-6


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_no_window_of_any_length_sees_more_than_burst_plus_rate_times_its_length(
    rate: float, burst: int, gaps: list[float]
) -> None:
    limit, now, went = Gcra(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        now += max(0.0, limit.wait_seconds(now))
        limit.count_request(now)
        went.append(now)
    for first, start in enumerate(went):
        for last in range(first, len(went)):
            window = went[last] - start
            assert last - first + 1 <= burst + rate * window + TINY * (1 + rate * went[-1])


@given(rate=st.floats(1, 500), burst=st.integers(1, 20))
def test_whoever_always_asks_gets_the_full_rate(rate: float, burst: int) -> None:
    limit, now, went = Gcra(rate, burst), 0.0, []
    while now < 10:
        now += max(0.0, limit.wait_seconds(now))
        limit.count_request(now)
        went.append(now)
    assert bisect_right(went, 10) >= burst + rate * 10 - 2


def test_a_late_request_does_not_cost_the_rate_while_the_burst_has_room() -> None:
    limit = Gcra(10, 5)
    for number in range(100):
        limit.count_request(max(number / 10 + 0.05, 0))
    assert limit.wait_seconds(10.05) <= 0


def test_a_pause_holds_for_everybody_and_never_gets_shorter() -> None:
    limit = Gcra(10, 5)
    limit.pause(30, 0)
    limit.pause(20, 0)
    assert limit.wait_seconds(0) == 30
    assert limit.wait_seconds(30) <= 0


def test_half_of_the_burst_is_kept_and_a_burst_of_one_stays_one() -> None:
    assert [with_headroom(burst) for burst in (1, 2, 3, 5, 10)] == [1, 1, 2, 3, 5]


@pytest.mark.parametrize("burst", [1, 2, 5])
def test_exactly_the_burst_goes_at_once_and_then_one_request_at_a_time(burst: int) -> None:
    limit = Gcra(10, burst)
    for _ in range(burst):
        assert limit.wait_seconds(0) <= 0
        limit.count_request(0)
    assert limit.wait_seconds(0) == pytest.approx(0.1)
    limit.count_request(0.1)
    assert limit.wait_seconds(0.1) == pytest.approx(0.1)


def test_a_turn_is_taken_only_if_a_request_may_go() -> None:
    limit = Gcra(10, 2)
    assert [limit.take_turn(5), limit.take_turn(5)] == [0, 0]
    assert [limit.take_turn(5), limit.take_turn(5)] == [pytest.approx(0.1)] * 2, "a wait counts no request"
    assert limit.take_turn(5.25) == 0


def test_a_turn_is_free_at_the_very_end_of_a_pause() -> None:
    limit = Gcra(10, 1)
    limit.pause(30, 0)
    assert [limit.paused_for(0), limit.paused_for(29.5), limit.paused_for(30), limit.paused_for(31)] == [30, 0.5, 0, 0]
    assert [limit.take_turn(29.5), limit.take_turn(30)] == [0.5, 0]
    assert limit.wait_seconds(30) == pytest.approx(0.1)


def test_a_limit_in_memory_is_shared_with_no_other_run() -> None:
    assert Gcra(10, 1).is_shared(0) is False


def test_a_lower_cap_slows_down_and_a_higher_cap_changes_nothing() -> None:
    limit = Gcra(10, 1)
    limit.count_request(0)
    limit.cap = 20
    assert limit.rate == 10
    assert limit.wait_seconds(0) == pytest.approx(0.1)
    limit.cap = 4
    limit.count_request(0.1)
    assert limit.rate == 4
    assert limit.wait_seconds(0.1) == pytest.approx(0.25)
