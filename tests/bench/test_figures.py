"""The benchmark's arithmetic: medians, the bound of a rate limit, and how much of a limit a record of requests used."""

import pytest

from bench.figures import (
    Observation,
    Spread,
    best,
    bound_seconds,
    fewest_requests,
    seen_from,
    settling_seconds,
    span_seconds,
    throttled,
    until_last_stop,
    utilisation,
)


def stops(*moments: float, status: int = 200) -> list[Observation]:
    return [Observation(at, status, stop=status == 200, cvm=f"cvm_{at:g}") for at in moments]


def evenly(rate: float, seconds: float, *, begin: float = 0.0) -> list[Observation]:
    return stops(*(begin + number / rate for number in range(round(rate * seconds) + 1)))


def test_a_spread_is_median_minimum_and_maximum() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_effective_stops_are_found_in_the_simulators_record() -> None:
    record = [
        {"at": 0.0, "status": 200, "operation": "list_cvms_paginated", "effect": False, "cvm_hashid": None},
        {"at": 1.0, "status": 429, "operation": "stop_cvm", "effect": False, "cvm_hashid": None},
        {"at": 2.0, "status": 200, "operation": "stop_cvm", "effect": True, "cvm_hashid": "cvm_1"},
        {"at": 3.0, "status": 200, "operation": "batch_stop", "effect": True, "cvm_hashid": None},
        {"at": 4.0, "status": 200, "operation": "shutdown_cvm", "effect": True, "cvm_hashid": "cvm_2"},
    ]
    assert [each.stop for each in seen_from(record)] == [False, False, True, True, False]


def test_time_runs_from_the_first_request_to_the_last() -> None:
    assert span_seconds([Observation(2.0, 200), Observation(3.0, 429), Observation(7.5, 200)]) == 5.5


def test_requests_after_the_last_stop_are_left_out() -> None:
    seen = [Observation(0.0, 200), *stops(1.0, 2.0), Observation(3.0, 200)]
    assert until_last_stop(seen) == seen[:3]
    assert until_last_stop([Observation(0.0, 200)]) == []


def test_the_last_cvm_to_settle_can_be_an_earlier_stop() -> None:
    seen = stops(0.0, 1.0)
    assert settling_seconds(seen, {"cvm_0": 6.0, "cvm_1": 2.0}) == 5.0
    assert settling_seconds(seen, {"cvm_0": 2.0, "cvm_1": 2.0}) == 2.0


def test_the_bound_is_requests_over_rate_and_settling() -> None:
    assert bound_seconds(1010, 50, 5.0) == pytest.approx(25.2)


@pytest.mark.parametrize(("cvms", "requests"), [(1, 2), (100, 101), (101, 103), (1000, 1010)])
def test_the_fewest_requests_are_pages_of_a_hundred_and_stops(cvms: int, requests: int) -> None:
    assert fewest_requests(cvms) == requests


def test_a_run_at_the_limit_uses_the_whole_limit() -> None:
    assert utilisation(evenly(7, 60), 7) == pytest.approx(1.0)


def test_half_the_rate_is_half_the_limit() -> None:
    assert utilisation(evenly(60, 30), 120) == pytest.approx(0.5)


def test_throttled_requests_do_not_count_as_use() -> None:
    seen = sorted([*evenly(10, 30), *stops(*(11 + number for number in range(15)), status=429)], key=lambda s: s.at)
    assert utilisation(seen, 10) == pytest.approx(1.0)
    assert throttled(seen) == 15


def test_the_warm_up_does_not_count() -> None:
    seen = [*evenly(1, 9), *evenly(20, 20, begin=10.05)]
    assert utilisation(seen, 20) == pytest.approx(1.0, abs=0.01)


def test_the_watch_after_the_last_stop_does_not_count() -> None:
    assert utilisation([*evenly(10, 20), Observation(100.0, 200)], 10) == pytest.approx(1.0)


@pytest.mark.parametrize("seen", [[], [Observation(0.0, 200)], evenly(100, 12)])
def test_a_short_run_has_no_utilisation(seen: list[Observation]) -> None:
    assert utilisation(seen, 100) is None


def test_the_best_width_has_the_highest_median() -> None:
    assert best({8: [10.0, 11.0, 12.0], 16: [1.0, 12.0, 13.0], 32: [100.0, 1.0, 1.0]}) == 16
