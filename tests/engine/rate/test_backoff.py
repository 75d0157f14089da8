"""The wait between two polls of statuses. The rate limit is 10 requests a second; waits are in seconds."""

import pytest

from orchestrator.engine.rate.backoff import PollBackoff
from orchestrator.engine.rate.gcra import Gcra


def new_backoff(*, shortest: float = 1, longest: float = 1000) -> PollBackoff:
    return PollBackoff(shortest, longest, Gcra(10, 5))


def wait(  # many reads and old requests by default: then polls need not be soon
    backoff: PollBackoff,
    *,
    watched: int = 20,
    unsent: int = 0,
    oldest: float = 1000,
    youngest: float = 1000,
    reads: int = 1000,
) -> float:
    return backoff.wait_seconds(watched=watched, unsent=unsent, oldest=oldest, youngest=youngest, reads=reads)


def pass_quiet_rounds(backoff: PollBackoff, rounds: int) -> PollBackoff:
    for _ in range(rounds):
        backoff.count_poll(settled=0, seconds=10)
    return backoff


def test_each_poll_without_a_settled_cvm_makes_the_wait_half_as_long_again() -> None:
    assert [wait(pass_quiet_rounds(new_backoff(), rounds)) for rounds in range(4)] == [2, 3, 4.5, 6.75]


@pytest.mark.parametrize(
    ("unsent", "oldest", "expected"),
    [
        (0, 100, 16),  # a share of the oldest wait
        (0, 12.5, 2),
        (0, 0, 2),
        (10_000, 100, 50),  # a larger share while requests are to be sent
        (10_000, 1, 2),
    ],
)
def test_without_a_change_the_wait_follows_the_oldest_cvm(unsent: int, oldest: float, expected: float) -> None:
    assert wait(pass_quiet_rounds(new_backoff(), 20), unsent=unsent, oldest=oldest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("watched", "unsent", "oldest", "expected"),
    [
        (20, 0, 1000, 6),  # 0.3 of 20 seconds for 20 CVMs
        (2, 0, 1000, 1.3),  # the shortest wait after all requests are sent
        (2, 1, 1000, 1),  # the shortest wait before
        (20, 0, 8, 4),  # half of the oldest wait
        (20, 0, 1, 2),
        (20, 5000, 160, 80),
        (20, 5000, 10, 75),  # 0.15 of 500 seconds for the requests to send
        (20, 1000, 1000, 30),  # sending takes longer than settling
    ],
)
def test_the_speed_of_settling_predicts_the_wait(watched: int, unsent: int, oldest: float, expected: float) -> None:
    backoff = new_backoff()
    backoff.count_poll(settled=10, seconds=10)
    assert wait(backoff, watched=watched, unsent=unsent, oldest=oldest) == pytest.approx(expected)


def test_the_speed_is_the_mean_of_the_last_poll_and_the_speed_before() -> None:
    backoff = new_backoff()
    for settled in (10, 30):
        backoff.count_poll(settled=settled, seconds=10)
    assert wait(backoff) == pytest.approx(3)
    backoff.count_poll(settled=2, seconds=0.1)  # a poll counts as one of at least the shortest wait
    assert wait(backoff) == pytest.approx(3)


def test_a_poll_without_a_settled_cvm_starts_the_backoff_again() -> None:
    backoff = new_backoff()
    backoff.count_poll(settled=100, seconds=10)
    backoff.count_poll(settled=0, seconds=10)
    assert wait(backoff, watched=1000) == 3
    backoff.count_poll(settled=100, seconds=10)
    assert wait(backoff, watched=1000) == pytest.approx(0.3 * 1000 / 7.5)


def settled_after(*seconds: float, shortest: float = 1) -> PollBackoff:
    backoff = new_backoff(shortest=shortest)
    for each in seconds:
        backoff.count_settled(each)
    return backoff


@pytest.mark.parametrize(
    ("youngest", "expected"),
    [
        (10, 0.3 * 30.5),  # a part of the remaining 30.5 seconds
        (36.5, 1.3),  # 4 seconds: the shortest wait
        (38.5, 2),  # 2 seconds: too short for one more poll, so the poll is due at the end
        (40, 1),  # half a second: the shortest wait of all
        (40.5, 2),  # no prediction any more
    ],
)
def test_after_all_requests_are_sent_the_longest_settling_predicts_the_last(youngest: float, expected: float) -> None:
    backoff = settled_after(40, 30)
    assert wait(backoff, youngest=youngest) == pytest.approx(expected)
    assert wait(backoff, youngest=youngest, unsent=1) == 2


def test_a_poll_fits_in_if_exactly_the_shortest_wait_is_left_afterwards() -> None:
    assert wait(settled_after(13, shortest=2), youngest=10) == 2
    assert wait(settled_after(12.5, shortest=2), youngest=10) == 3.5


@pytest.mark.parametrize(("youngest", "left", "expected"), [(1, 1.5, 0.5), (4, 2.65, 1), (10, 2.65, 1.3)])
def test_the_shortest_wait_is_a_quarter_of_the_youngest_wait_within_bounds(
    youngest: float, left: float, expected: float
) -> None:
    backoff = settled_after(youngest + left - 0.25, shortest=0.5)
    assert wait(backoff, youngest=youngest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("youngest", "reads", "expected"), [(10, 1, 1.45), (100, 1, 9), (10, 10, 5), (10, 2, 1.45), (10, 3, 1.5)]
)
def test_a_settled_cvm_is_seen_soon_after_all_requests_are_sent(youngest: float, reads: int, expected: float) -> None:
    backoff = pass_quiet_rounds(new_backoff(), 20)
    assert wait(backoff, youngest=youngest, reads=reads) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unsent", "oldest", "expected"),
    [(1, 2, 1.45), (1, 100, 25), (1000, 50, 18)],
)
def test_polls_are_not_rare_while_few_requests_are_left_to_send(unsent: int, oldest: float, expected: float) -> None:
    backoff = pass_quiet_rounds(new_backoff(), 20)
    assert wait(backoff, unsent=unsent, oldest=oldest) == pytest.approx(expected)


def test_reads_take_at_most_a_tenth_of_the_rate_limit_while_requests_are_to_be_sent() -> None:
    backoff = PollBackoff(1, 1000, Gcra(2, 5))
    assert wait(backoff, unsent=1, oldest=0) == 5
    assert wait(backoff, unsent=4, oldest=0) == 5  # two seconds of sending are not many requests yet
    assert wait(backoff, unsent=100, oldest=0) == pytest.approx(1 / 0.12)  # 6 % while many are to be sent
    assert wait(backoff, unsent=0, oldest=0) == 2


def test_no_wait_leaves_the_bounds() -> None:
    backoff = pass_quiet_rounds(new_backoff(shortest=3, longest=8), 20)
    assert wait(backoff) == 8
    assert wait(backoff, youngest=0, reads=1) == 3
    assert new_backoff(shortest=10, longest=5).longest == 10


def test_a_cvm_was_seen_down_only_after_the_first_settled_cvm() -> None:
    assert not new_backoff().some_are_down
    assert settled_after(1).some_are_down


def test_a_longer_shortest_wait_makes_all_waits_longer() -> None:
    backoff = new_backoff(shortest=3)
    assert wait(backoff) == 6
    assert wait(backoff, oldest=0) == 6
    backoff.count_poll(settled=10, seconds=10)
    assert wait(backoff, watched=100) == 30
    assert wait(backoff, watched=100, oldest=0) == 6
    backoff.count_poll(settled=0, seconds=10)
    assert wait(backoff, watched=1000) == 9


def test_before_the_first_settled_cvm_a_poll_is_due_soon_after_the_first_request() -> None:
    assert wait(new_backoff(), youngest=0) == 1
