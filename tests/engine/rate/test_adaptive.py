"""The adaptive rate: its changes after answers and refusals, and the knowledge for the next run."""

import pytest

from orchestrator.engine.rate.adaptive import (
    START,
    AdaptiveRate,
    KnownRate,
    Limit,
    choose_limit,
    find_growth,
    find_hold,
)
from orchestrator.engine.rate.estimate import BucketEstimator, LimitEstimate
from orchestrator.reply import Reply
from tests.engine.servers import TokenBucket

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


@pytest.mark.parametrize(
    ("rate", "is_known", "growth"),
    [
        (94, True, 0.05),
        (95, True, 0.02),
        (95, False, 0.05),
        (124, True, 0.02),
        (124, False, 0.05),
        (125, True, 0.1),
        (125, False, 0.1),
        (199, True, 0.1),
        (200, True, 1.0),
    ],
)
def test_the_growth_depends_on_the_distance_from_a_limit_of_100(rate: float, is_known: bool, growth: float) -> None:
    assert find_growth(rate, Limit(100, is_known), is_held=False) == growth
    assert find_growth(rate, Limit(100, is_known), is_held=True) == 0


def test_without_a_limit_the_rate_grows_by_one_with_each_answer() -> None:
    assert find_growth(5, None, is_held=False) == find_growth(5000, None, is_held=True) == 1.0


@pytest.mark.parametrize(
    ("shortest", "rate", "seconds"),
    [(1, 20, 1), (1, 2, 5), (1, 0.1, 20), (30, 0.1, 30)],
)
def test_the_hold_of_an_unknown_limit_lasts_for_ten_answers(shortest: float, rate: float, seconds: float) -> None:
    assert find_hold(shortest, rate, Limit(rate, is_known=False), pause=100) == seconds


@pytest.mark.parametrize(
    ("shortest", "rate", "pause", "seconds"),
    [(1, 10, 1, 40), (1, 1, 1, 100), (1, 10, 100, 300), (1, 0.2, 1, 300), (60, 10, 1, 60), (1, 1000, 0.001, 1)],
)
def test_the_hold_of_a_known_limit_is_longer_after_a_long_pause(
    shortest: float, rate: float, pause: float, seconds: float
) -> None:
    assert find_hold(shortest, rate, Limit(rate, is_known=True), pause) == seconds


WIDE = LimitEstimate(least=8, most=64, size=10, misfit=0)
CONTRADICTED = WIDE._replace(misfit=10)


@pytest.mark.parametrize(
    ("before", "vague_refusals", "limit"),
    [
        (20, 0, 16),  # a third of the way from 8 to 64, by factors
        (20, 1, 8 * 8 ** (1 / 6)),
        (20, 2, 8 * 8 ** (1 / 9)),
        (60, 0, 30),  # never less than half of the refused rate
        (200, 0, 64),  # except for the highest possible limit
        (10, 0, 10),  # and never more than the refused rate
    ],
)
def test_a_wide_range_of_limits_gives_a_careful_guess(before: float, vague_refusals: int, limit: float) -> None:
    chosen = choose_limit(WIDE, Limit(5, is_known=False), before, vague_refusals)
    assert chosen.rate == pytest.approx(limit)
    assert not chosen.is_known


@pytest.mark.parametrize(
    ("least", "most", "believed", "is_known"),
    [
        (5, 5.4, 50, True),
        (5, 5.5, 4, False),  # 1.1 times as much is too far
        (5, 6, 5.3, True),  # the believed limit again
        (5, 6, 6, False),
        (5, 6.3, 5.4, False),
    ],
)
def test_a_limit_is_known_if_the_possible_limits_lie_close_together(
    least: float, most: float, believed: float, is_known: bool
) -> None:
    found = LimitEstimate(least, most, size=10, misfit=0)
    chosen = choose_limit(found, Limit(believed, is_known=False), before=6, vague_refusals=0)
    assert chosen.rate == pytest.approx(least ** (2 / 3) * most ** (1 / 3))
    assert chosen.is_known == is_known


@pytest.mark.parametrize(
    ("believed", "before", "limit"),
    [(30, 35, 30), (100, 99, 64), (5, 50, 8), (10, 9.9, 9.9)],
)
def test_a_refusal_at_a_known_limit_keeps_the_limit_within_the_possible_limits(
    believed: float, before: float, limit: float
) -> None:
    assert choose_limit(WIDE, Limit(believed, is_known=True), before, vague_refusals=0) == (limit, True)


@pytest.mark.parametrize(
    ("found", "believed", "before"),
    [(WIDE, Limit(100, is_known=True), 98), (WIDE, Limit(30, is_known=False), 98), (CONTRADICTED, Limit(30, True), 98)],
)
def test_a_refusal_below_a_limit_or_against_the_replies_so_far_gives_a_new_limit(
    found: LimitEstimate, believed: Limit, before: float
) -> None:
    assert choose_limit(found, believed, before, vague_refusals=0) == (49, False)


def test_a_run_without_answers_leaves_the_earlier_rate_to_the_next_run() -> None:
    assert AdaptiveRate(3, now=0.0).known_rate == KnownRate(0.0, is_limit=False)
    for known in (KnownRate(30, is_limit=False), KnownRate(30, is_limit=True)):
        assert AdaptiveRate(3, now=0.0, known=known).known_rate == known


def test_the_known_rate_is_the_number_of_answers_in_the_time_of_four_requests() -> None:
    finder = AdaptiveRate(3, now=100.0, known=KnownRate(2, is_limit=False))
    finder.on_reply(ANSWER, 101.0)
    finder.on_reply(ANSWER, 101.0)
    before = finder.rate
    finder.on_reply(ANSWER, 101.0)
    assert finder.known_rate.requests_per_second == pytest.approx(3 / (4 / before))
    assert finder.known_rate.is_limit is False


def test_the_known_rate_of_a_fast_run_is_the_number_of_answers_in_a_second() -> None:
    finder = AdaptiveRate(3, now=0.0)
    for tenth in range(30):
        finder.on_reply(ANSWER, tenth / 10)
    assert finder.rate > 11
    assert finder.known_rate == KnownRate(11, is_limit=False), "with the answer a second ago"


def test_a_slow_rate_is_raised_by_less_with_each_answer() -> None:
    finder = AdaptiveRate(3, now=100.0, known=KnownRate(2, is_limit=False))
    finder.on_reply(ANSWER, 100.1)
    assert finder.rate == pytest.approx(1.94 * 1.2)
    fast = AdaptiveRate(3, now=100.0)
    fast.on_reply(ANSWER, 100.1)
    assert fast.rate == START + 1


def start_at_limit(requests: int) -> tuple[AdaptiveRate, float, float]:
    """Start with a known limit of 100, and answer requests in time; return the finder, the time, and the interval."""
    finder, now = AdaptiveRate(3, now=1000.0, known=KnownRate(100, is_limit=True)), 1000.0
    interval = 1 / finder.rate
    for _ in range(requests):
        now += interval
        finder.on_reply(ANSWER, now)
    assert finder.send_rate == finder.rate
    return finder, now, interval


def test_late_requests_are_sent_a_little_faster() -> None:
    finder, now, interval = start_at_limit(20)
    finder.on_reply(ANSWER, now + 1.9 * interval)
    assert finder.send_rate == finder.rate, "0.9 requests are missing"
    finder.on_reply(ANSWER, now + 3.1 * interval)
    assert finder.send_rate == pytest.approx(1.05 * finder.rate), "1.1 requests are missing"


@pytest.mark.parametrize("requests", [0, 1])
def test_late_requests_count_from_the_start_of_the_run(requests: int) -> None:
    finder, now, interval = start_at_limit(requests)
    finder.on_reply(ANSWER, now + 1.9 * interval)
    assert finder.send_rate == finder.rate
    finder.on_reply(ANSWER, now + 3.1 * interval)
    assert finder.send_rate > finder.rate
    late, now, interval = start_at_limit(requests)
    late.on_reply(ANSWER, now + 2.1 * interval)
    assert late.send_rate > late.rate


def test_late_requests_count_up_to_half_of_the_bucket() -> None:
    finder, now, interval = start_at_limit(5)
    now += 100 * interval
    finder.on_reply(ANSWER, now)
    finder.on_reply(ANSWER, now + 0.5 * interval)
    assert finder.send_rate > finder.rate, "2 of 4 requests, and then 1.5"
    finder.on_reply(ANSWER, now + 0.5 * interval)
    assert finder.send_rate == finder.rate


def test_without_a_limit_late_requests_change_nothing() -> None:
    finder = AdaptiveRate(3, now=0.0)
    answer_for(finder, 5.0, rate=1)
    assert finder.send_rate == finder.rate


@pytest.mark.parametrize(("burst", "answers", "left"), [(3, 2, 1), (3, 3, 3), (2, 0, 1), (10, 4, 5)])
def test_a_refusal_of_the_first_requests_halves_the_burst_alone(burst: int, answers: int, left: int) -> None:
    finder = AdaptiveRate(burst, now=0.0)
    for _ in range(answers):
        finder.on_reply(ANSWER, 0.1)
    before = finder.rate
    finder.on_reply(refusal(), 0.1)
    assert finder.burst == left
    assert (finder.rate == before) == (left < burst)


def test_the_first_refusal_leaves_two_thirds_of_the_rate() -> None:
    finder = AdaptiveRate(1, now=0.0)
    finder.on_reply(ANSWER, 0.1)
    finder.on_reply(refusal(), 0.1)
    assert finder.rate == pytest.approx(0.97 * 0.65 * (START + 1))
    assert finder.known_rate.requests_per_second == pytest.approx(0.65 * (START + 1))
    assert finder.known_rate.is_limit is False


def test_a_refusal_of_a_request_sent_at_the_time_of_the_last_refusal_lowers_the_rate_again() -> None:
    finder = AdaptiveRate(1, now=0.0)
    finder.on_reply(refusal(), 1.0)
    before = finder.rate
    finder.on_reply(refusal(latency=0.5), 1.5)
    assert finder.rate < before


def grows_at(finder: AdaptiveRate, at: float) -> bool:
    """Answer at the finder's rate in the second before a time; return whether the rate grew at that time."""
    before, rate = finder.rate, finder.rate
    for number in range(int(rate), -1, -1):
        finder.on_reply(ANSWER, at - number / rate)
    return finder.rate > before


@pytest.mark.parametrize(("retry_after", "hold"), [(None, 40), (1.0, 40), (2.0, 80), (10.0, 300)])
def test_an_accident_holds_the_rate_for_forty_times_the_requested_pause(retry_after: float | None, hold: float) -> None:
    finder = AdaptiveRate(3, now=0.0, known=KnownRate(50, is_limit=True))
    now = answer_for(finder, 8)
    finder.on_reply(refusal(retry_after=retry_after), now)
    assert finder.rate == pytest.approx(0.97 * 50)
    assert not grows_at(finder, now + hold - 0.1)
    assert grows_at(finder, now + hold + 0.1)


def test_a_refusal_a_little_above_the_limit_of_an_earlier_run_confirms_the_limit() -> None:
    finder = AdaptiveRate(3, now=0.0, known=KnownRate(50, is_limit=True))
    now = answer_for(finder, 30)
    assert 50 < finder.rate < 60
    finder.on_reply(refusal(), now)
    assert finder.known_rate == KnownRate(50, is_limit=True)
    assert finder.rate == pytest.approx(0.97 * 50)


def test_a_refusal_below_the_limit_of_an_earlier_run_gives_the_limit_up() -> None:
    finder = AdaptiveRate(3, now=0.0, known=KnownRate(50, is_limit=True))
    now = answer_for(finder, 3)
    finder.on_reply(refusal(), now)
    assert finder.known_rate.is_limit is False
    assert finder.rate < 0.9 * 50


def test_a_refusal_in_the_hold_of_an_unknown_limit_is_no_accident() -> None:
    finder = AdaptiveRate(1, now=0.0)
    for second in range(3):
        finder.on_reply(refusal(), float(second))
    before = finder.rate
    assert before < 1
    now = answer_for(finder, 6, begin=2.0)
    assert finder.rate == before, "the hold lasts for more than 6 s"
    finder.on_reply(refusal(), now)
    assert finder.rate < before


def refuse_after(gaps: list[float]) -> tuple[AdaptiveRate, float, float, Limit]:
    """Refuse a request after each gap; return the finder, the time, the rate before, and the chosen limit."""
    finder, estimator = AdaptiveRate(3, now=1000.0), BucketEstimator(1000.0)
    now, vague_refusals, before = 1000.0, 0, 0.0
    believed = chosen = Limit(0.0, is_known=False)
    for number, seconds in enumerate(gaps):
        end = now + seconds
        while now < end:
            now += 1 / finder.rate
            finder.on_reply(ANSWER, now)
            estimator.count_accepted(now)
        before = finder.rate
        finder.on_reply(refusal(), now)
        estimator.count_refused(now)
        if number > 0:
            chosen = choose_limit(estimator.estimate_limits(before), believed, before, vague_refusals)
            vague_refusals = 0 if chosen.is_known else vague_refusals + 1
        believed = Limit(finder.known_rate.requests_per_second, finder.known_rate.is_limit)
    return finder, now, before, chosen


@pytest.mark.parametrize("gaps", [[1, 4], [4, 1], [4, 4], [1, 6, 12, 12], [1, 6, 6, 6, 12, 12]])
def test_slow_refusals_lower_the_rate_to_the_chosen_limit(gaps: list[float]) -> None:
    finder, _, _, chosen = refuse_after(gaps)
    assert finder.rate == pytest.approx(0.97 * chosen.rate)


def test_the_second_quick_refusal_lowers_the_rate_further() -> None:
    finder, _, before, chosen = refuse_after([1, 1])
    assert finder.rate == pytest.approx(min(0.75 * before, 0.97 * chosen.rate))
    assert finder.known_rate.requests_per_second == pytest.approx(min(0.8 * before, chosen.rate))
    assert finder.known_rate.is_limit is False


def test_a_new_limit_is_held_for_a_second() -> None:
    finder, now, _, _ = refuse_after([1, 6, 12])
    assert not grows_at(finder, now + 0.9)
    assert grows_at(finder, now + 1.1)


def test_the_rate_stays_above_a_part_of_the_mean_rate_so_far() -> None:
    finder, answers = AdaptiveRate(1, now=0.0), 0
    now = 0.0
    while now < 10:
        now += 1 / min(finder.rate, 100)
        finder.on_reply(ANSWER, now)
        answers += 1
    for _ in range(3):
        now += 0.01
        finder.on_reply(refusal(), now)
    assert finder.rate == pytest.approx(0.4 * answers / now)
    assert finder.known_rate.is_limit is False


def send_for(finder: AdaptiveRate, server: TokenBucket, seconds: float, *, pause: float) -> list[tuple[float, float]]:
    """Send at the finder's rate for some seconds; return the time and the length of each hold."""
    now, holds, held_since = 0.0, [], None
    while now < seconds:
        now += 1 / finder.rate
        before = finder.rate
        if server.wait(now) > 0:
            finder.on_reply(refusal(retry_after=pause), now)
            held_since = now
            now += pause
        else:
            finder.on_reply(ANSWER, now)
            if held_since is not None and finder.rate > before:
                holds.append((held_since, now - held_since))
                held_since = None
    return holds


def test_the_hold_doubles_while_the_limit_stays_the_same() -> None:
    holds = send_for(AdaptiveRate(1, now=0.0), TokenBucket(100, 10), 50, pause=0.01)
    assert [length for _, length in holds] == pytest.approx([1, 2, 4, 8, 16], abs=0.1)


@pytest.mark.parametrize(("bucket", "burst"), [(2, 1), (14, 6), (50, 10)])
def test_half_of_the_bucket_may_go_at_once(bucket: int, burst: int) -> None:
    finder = AdaptiveRate(10, now=0.0)
    send_for(finder, TokenBucket(90, bucket), 15, pause=0.01)
    assert finder.burst == burst
