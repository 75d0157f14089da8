"""The adaptive rate: its changes after answers and refusals, and the knowledge for the next run."""

import pytest

from orchestrator.engine.rate.adaptive import START, AdaptiveRate, KnownRate
from orchestrator.reply import Reply

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
