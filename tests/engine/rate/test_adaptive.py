"""What the finder of the rate makes of servers that tell nobody their limit."""

from collections.abc import Callable

import pytest

from orchestrator.engine.rate.adaptive import START, AdaptiveRate, KnownRate
from orchestrator.reply import Reply
from tests.engine.servers import FixedWindow, Server, SlidingWindow, TokenBucket, send

ANSWER: Reply[object] = Reply(value=(), http_status=200)


def refusal(*, latency: float = 0.0, retry_after: float | None = 1.0) -> Reply[object]:
    return Reply(http_status=429, latency=latency, retry_after=retry_after)


def answer_for(finder: AdaptiveRate, seconds: float, *, begin: float = 0.0, rate: float | None = None) -> float:
    """Answer as fast as the finder would have it, or at a rate of one's own; returns the time."""
    now = begin
    while now < begin + seconds:
        now += 1 / (finder.rate if rate is None else rate)
        finder.on_reply(ANSWER, now)
    return now


@pytest.mark.parametrize("burst", [5, 10, 50])
@pytest.mark.parametrize(("limit", "seconds"), [(7, 120), (50, 60), (120, 45)])
@pytest.mark.parametrize("seed", [1, 2])
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


def test_without_a_refusal_the_rate_more_than_doubles_each_second() -> None:
    finder = AdaptiveRate(3, now=0.0)
    answer_for(finder, 1.0)
    once = finder.rate
    answer_for(finder, 1.0, begin=1.0)
    assert 2 <= once / START <= 3
    assert 2 <= finder.rate / once <= 3


def test_a_rate_that_is_not_used_does_not_grow_beyond_twice_of_what_is() -> None:
    finder = AdaptiveRate(3, now=0.0)
    answer_for(finder, 60, rate=10)
    assert finder.rate <= 2.3 * 10


def test_the_rate_falls_at_once_and_what_was_sent_before_the_fall_does_not_lower_it_again() -> None:
    finder = AdaptiveRate(3, now=0.0)
    now = answer_for(finder, 3)
    before = finder.rate
    finder.on_reply(refusal(latency=0.01), now)
    fallen = finder.rate
    assert fallen < before
    finder.on_reply(refusal(latency=0.05), now + 0.02)
    finder.on_reply(refusal(latency=0.05), now + 0.04)
    assert finder.rate == fallen
    finder.on_reply(refusal(latency=0.05), now + 2)
    assert finder.rate < fallen


def test_an_answer_that_never_came_and_a_503_say_nothing_of_the_limit() -> None:
    finder = AdaptiveRate(3, now=0.0)
    now = answer_for(finder, 2)
    before = finder.rate
    finder.on_reply(Reply(http_status=None, problem="timed out"), now)
    assert finder.rate == before
    finder.on_reply(Reply(http_status=503, retry_after=5.0), now)
    assert finder.rate >= before


def test_a_refusal_of_a_rate_that_went_well_for_long_is_taken_for_an_accident_once() -> None:
    finder = AdaptiveRate(3, now=0.0, known=KnownRate(50, is_limit=True))
    now = answer_for(finder, 8)
    finder.on_reply(refusal(), now)
    assert finder.rate == pytest.approx(0.97 * 50)
    now = answer_for(finder, 8, begin=now + 1)
    finder.on_reply(refusal(), now)
    assert finder.rate < 0.97 * 50


@pytest.mark.parametrize("limit", [7, 120])
def test_what_one_run_learnt_the_next_begins_with(limit: float) -> None:
    first = send(TokenBucket(limit, 10), seconds=40, max_in_flight=60)
    held = first.finder.known_rate
    assert held.is_limit
    assert held.requests_per_second == pytest.approx(limit, rel=0.08)
    second = send(TokenBucket(limit, 10), seconds=30, known=held, max_in_flight=60)
    assert second.used(0.0) >= 0.9
    assert sum(not passed for _, passed in second.requests) <= 3


def test_where_more_was_never_tried_the_next_run_goes_on_looking() -> None:
    finder = AdaptiveRate(3, now=0.0)
    answer_for(finder, 2)
    held = finder.known_rate
    assert not held.is_limit
    second = AdaptiveRate(3, now=0.0, known=held)
    assert START < second.rate <= held.requests_per_second
    before = second.rate
    answer_for(second, 1)
    assert second.rate > 1.7 * before


@pytest.mark.parametrize("learnt", [14, 240])
def test_a_limit_that_was_halved_since_an_earlier_run_costs_little(learnt: float) -> None:
    sent = send(TokenBucket(learnt / 2, 10), seconds=60, known=KnownRate(learnt, is_limit=True), max_in_flight=60)
    assert sent.used() >= 0.9
    assert sent.refused <= 0.02


def test_no_more_go_at_once_than_allowed_and_fewer_where_the_server_takes_fewer() -> None:
    finder = AdaptiveRate(3, now=0.0)
    assert finder.burst == 3
    finder.on_reply(ANSWER, 0.01)
    finder.on_reply(refusal(), 0.02)
    assert finder.burst == 1
    assert finder.rate >= START, "that so few at once were too many says nothing of the rate"


def test_refusals_that_have_nothing_to_do_with_the_rate_never_stop_a_run() -> None:
    finder, now = AdaptiveRate(3, now=0.0), 0.0
    for number in range(2000):
        now += 1 / finder.rate
        if number % 20:
            finder.on_reply(ANSWER, now)
        else:
            finder.on_reply(refusal(), now)
            now += 1
    assert finder.rate >= 0.5
