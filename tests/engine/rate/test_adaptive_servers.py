"""The adaptive rate against simulated servers: their limits are found, and used for the most part."""

from collections.abc import Callable

import pytest

from orchestrator.engine.rate.adaptive import KnownRate
from tests.engine.servers import FixedWindow, Server, SlidingWindow, TokenBucket, send


@pytest.mark.parametrize("burst", [5, 10, 50])
@pytest.mark.parametrize(("limit", "seconds"), [(7, 120), (50, 60), (120, 45)])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_nine_tenths_of_an_unknown_limit_are_used_after_ten_seconds(
    limit: float, burst: int, seconds: float, seed: int
) -> None:
    sent = send(TokenBucket(limit, burst), seconds=seconds, seed=seed)
    assert sent.used() >= 0.9
    assert sent.refused <= 0.02


@pytest.mark.parametrize("latency", [(0.001, 0.002), (0.05, 0.1), (0.1, 0.3)])
@pytest.mark.parametrize("limit", [7, 120])
@pytest.mark.parametrize("retry_after", [True, False])
def test_neither_slow_answers_nor_a_missing_retry_after_change_that(
    latency: tuple[float, float], limit: float, retry_after: bool
) -> None:
    sent = send(TokenBucket(limit, 10), seconds=90, latency=latency, retry_after=retry_after, max_in_flight=60)
    assert sent.used() >= 0.9
    assert sent.refused <= 0.02


@pytest.mark.parametrize(
    ("server", "share"),
    [
        (lambda: TokenBucket(7, 1), 0.75),
        (lambda: TokenBucket(7, 2), 0.9),
        (lambda: TokenBucket(400, 50), 0.75),
        (lambda: TokenBucket(1000, 50), 0.8),
        (lambda: FixedWindow(7, 1), 0.85),
        (lambda: FixedWindow(120, 1), 0.75),
        (lambda: FixedWindow(70, 10), 0.9),
        (lambda: SlidingWindow(7, 1), 0.8),
        (lambda: SlidingWindow(120, 1), 0.8),
        (lambda: SlidingWindow(70, 10), 0.75),
        (lambda: FixedWindow(420, 60), 0.75),  # the first minute's worth is gone in seconds, and the rest is waiting
    ],
)
def test_most_of_a_limit_of_another_kind_is_used_too(server: Callable[[], Server], share: float) -> None:
    sent = send(server(), seconds=240 if server().rate < 100 else 60, max_in_flight=60)
    assert sent.used() >= share
    assert sent.refused <= 0.03


@pytest.mark.parametrize("burst", [1, 5, 50])
def test_even_one_request_in_two_seconds_is_found(burst: int) -> None:
    sent = send(TokenBucket(0.5, burst), seconds=900)
    assert sent.used() >= 0.6
    assert sent.refused <= (0.1 if burst > 1 else 0.4)  # two that are a moment too close are one too many


@pytest.mark.parametrize(("before", "after"), [(120, 30), (120, 100), (7, 2), (30, 120), (7, 60)])
def test_a_limit_that_changes_in_the_middle_is_found_again(before: float, after: float) -> None:
    server = TokenBucket(before, 10)

    def change(now: float) -> None:
        if now > 60:
            server.rate = after

    sent = send(server, seconds=240, change=change, max_in_flight=60)
    assert sent.used(140, 240) >= 0.8
    assert sent.refused <= 0.03


@pytest.mark.parametrize("limit", [7, 120])
def test_what_one_run_learnt_the_next_begins_with(limit: float) -> None:
    first = send(TokenBucket(limit, 10), seconds=40, max_in_flight=60)
    held = first.finder.known_rate
    assert held.is_limit
    assert held.requests_per_second == pytest.approx(limit, rel=0.08)
    second = send(TokenBucket(limit, 10), seconds=30, known=held, max_in_flight=60)
    assert second.used(0.0) >= 0.9
    assert sum(not passed for _, passed in second.requests) <= 3


@pytest.mark.parametrize("learnt", [14, 240])
def test_a_limit_that_was_halved_since_an_earlier_run_costs_little(learnt: float) -> None:
    sent = send(TokenBucket(learnt / 2, 10), seconds=60, known=KnownRate(learnt, is_limit=True), max_in_flight=60)
    assert sent.used() >= 0.9
    assert sent.refused <= 0.02
