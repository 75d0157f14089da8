"""Arithmetic of turns in slices, on virtual time: several processes with clocks of their own, and one database."""

import heapq
import random
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.postgres.turns import LONGEST_ROUND, Offset, Slice, TurnQueue, observe_offset

TINY = 1e-6


class Database:
    """The row of a workspace, as in the function `take_turns`; and its clock."""

    def __init__(self, rate: float, burst: int, clock: float = 1e9) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self.arrival = self.paused_until = float("-inf")
        self.taken = 0

    def take(self, now: float, turns: int, ahead: float) -> tuple[Slice, float, float]:
        """Take a slice at a true time; return the slice, the remaining pause, and the time of the database."""
        time = now + self.clock
        first = max(self.arrival, time + ahead, self.paused_until)
        self.arrival = first + turns / self.rate
        self.taken += turns
        taken = Slice(first - (self.burst - 1) / self.rate, turns, self.rate, self.burst)
        return taken, max(0.0, self.paused_until - time), time


class Process:
    """A process with requests one after another, or now and then. Its clock has an origin of its own."""

    def __init__(self, database: Database, chance: random.Random, latency: float, jitter: float, gap: float) -> None:
        self.queue, self.database, self.chance = TurnQueue(), database, chance
        self.latency, self.jitter, self.gap = latency, jitter, gap
        self.origin = chance.uniform(0, 1e4)
        self.went: list[float] = []
        self.is_asking = False
        self.wakes = self.most = self.questions = 0
        self.begin = 0.0

    def request(self, now: float) -> Iterator[tuple[float, object]]:
        """Try to send; yield the next events, each with its time."""
        self.wakes += 1
        wait = self.queue.take_turn(now + self.origin)
        if wait == 0:
            self.went.append(now)
            yield now + self.chance.uniform(0, self.gap), self.request
        else:
            yield now + (wait or self.latency / 2 + 1e-4) + self.chance.uniform(0, self.jitter), self.request
        delay = self.queue.fetch_delay(now + self.origin)
        if delay is not None and not self.is_asking:
            self.is_asking = True
            yield now + delay, self.ask

    def ask(self, now: float) -> Iterator[tuple[float, object]]:
        """Ask the database for a slice."""
        turns, ahead = self.queue.begin_fetch(), self.queue.ahead
        self.most = max(self.most, turns)
        self.questions += 1
        reached = now + self.chance.uniform(0, self.latency)
        yield reached, lambda at: self.answer(at, now, turns, ahead)

    def answer(self, now: float, asked: float, turns: int, ahead: float) -> Iterator[tuple[float, object]]:
        """Take the slice in the database, and send the answer."""
        taken, pause, time = self.database.take(now, turns, ahead)
        yield (
            now + self.chance.uniform(0, self.latency),
            lambda at: self.receive(taken, pause, asked + self.origin, at, time),
        )

    def receive(
        self, taken: Slice, pause: float, asked: float, now: float, time: float
    ) -> Iterator[tuple[float, object]]:
        """Receive the answer."""
        self.queue.add_slice(taken, pause, asked, now + self.origin, time)
        self.is_asking = False
        delay = self.queue.fetch_delay(now + self.origin)
        if delay is not None:
            self.is_asking = True
            yield now + delay, self.ask


def simulate(processes: list[Process], until: float, *, begin: float = 0.0) -> list[float]:
    """Let the processes send until a time; return the times of all requests in order."""
    numbers = count()
    events: list[tuple[float, int, object]] = [
        (max(begin, process.begin), next(numbers), process.request) for process in processes
    ]
    heapq.heapify(events)
    for process in processes:
        if process.is_asking:  # at the end of the call before: the answer is lost
            process.is_asking = False
            process.queue.fail_fetch()
    while events[0][0] < until:
        now, _, act = heapq.heappop(events)
        for at, following in act(now):  # type: ignore[operator] # a method of a process
            heapq.heappush(events, (at, next(numbers), following))
    return sorted(at for process in processes for at in process.went)


def require_within_limit(went: list[float], rate: float, burst: int) -> None:
    """No window of any length has more than `burst + rate * length` requests."""
    lowest = float("inf")  # of rate * time - number, over all window begins
    for number, at in enumerate(went):
        lowest = min(lowest, number - rate * at)
        assert number + 1 - rate * at - lowest <= burst + TINY * (1 + rate * at)


@given(
    seed=st.integers(0, 2**32),
    processes=st.integers(1, 4),
    limit=st.tuples(st.floats(1, 300), st.integers(2, 8)),
    latency=st.floats(0, 0.02),
    gap=st.sampled_from([0.0, 0.01, 1.0]),
)
def test_no_window_has_more_requests_than_the_burst_and_the_rate_allow(
    seed: int, processes: int, limit: tuple[float, int], latency: float, gap: float
) -> None:
    rate, burst = limit
    chance, database = random.Random(seed), Database(rate, burst)
    latency = min(latency, (burst - 1) / rate / 4)  # the clocks are known well enough
    each = [Process(database, chance, latency, 0.01, gap) for _ in range(processes)]
    went = simulate(each, 20.0)
    require_within_limit(went, rate, burst)


@pytest.mark.parametrize("processes", [1, 2, 3, 20])
@pytest.mark.parametrize(
    ("rate", "burst"),
    [(3, 3), (50, 5), pytest.param(10, 3, marks=pytest.mark.soak), pytest.param(200, 5, marks=pytest.mark.soak)],
)
@pytest.mark.parametrize("latency", [0.002, 0.03])
def test_processes_with_many_requests_use_nearly_the_whole_rate(
    processes: int, rate: float, burst: int, latency: float
) -> None:
    database, chance = Database(rate, burst), random.Random(7)
    each = [Process(database, chance, latency, 0.001, 0.0) for _ in range(processes)]
    went = [at for at in simulate(each, 70.0) if at >= 10]
    assert len(went) >= 0.95 * 60 * rate
    shares = [sum(at >= 10 for at in process.went) for process in each]
    assert max(shares) <= (2 if processes <= 3 else 4) * min(shares) + 1
    assert sum(process.wakes for process in each) <= 6 * (len(went) + 10 * rate), "and the processes sleep between"


@pytest.mark.parametrize("gap", [2.0, 0.5, 0.1, 0.02])
def test_a_process_with_few_requests_wastes_few_turns_of_a_process_with_many(gap: float) -> None:
    database, chance = Database(50, 3), random.Random(7)
    busy, idle = (Process(database, chance, 0.002, 0.001, each) for each in (0.0, gap))
    went = [at for at in simulate([busy, idle], 70.0) if at >= 10]
    assert len(idle.went) >= 40
    assert len(went) >= 0.95 * 60 * 50


@pytest.mark.parametrize("rate", [1_000, 100_000])
def test_a_process_slower_than_the_rate_does_not_wait_for_the_database(rate: float) -> None:
    database = Database(rate, 50)
    process = Process(database, random.Random(7), 0.005, 0.0, 0.004)
    went = [at for at in simulate([process], 12.0) if at >= 2]
    assert len(went) >= 0.95 * 10 / 0.002
    assert process.questions <= 10 * 12


def test_a_single_request_takes_a_single_turn() -> None:
    database = Database(50, 3)
    process = Process(database, random.Random(7), 0.002, 0.001, 10.0)
    simulate([process], 100.0)
    assert database.taken <= len(process.went) + 1


def test_a_new_process_beside_a_busy_process_soon_has_its_share() -> None:
    database, chance = Database(50, 5), random.Random(7)
    busy, new = (Process(database, chance, 0.002, 0.001, 0.0) for _ in range(2))
    new.begin = 30.0
    simulate([busy, new], 60.0)
    assert new.went[0] - new.begin <= 0.5
    assert len([at for at in new.went if at < 33]) >= 0.3 * 3 * 50
    assert busy.most <= 50 * LONGEST_ROUND + 1, "turns asked for at once"


def test_at_a_slow_rate_not_every_request_needs_a_question() -> None:
    database = Database(5, 3)
    process = Process(database, random.Random(7), 0.002, 0.001, 0.0)
    simulate([process], 200.0)
    assert process.questions <= 0.45 * len(process.went)


def test_a_process_with_fewer_requests_than_before_takes_smaller_slices() -> None:
    database = Database(50, 5)
    process = Process(database, random.Random(7), 0.002, 0.001, 0.0)
    simulate([process], 20.0)
    process.gap = 4.0
    simulate([process], 40.0)
    taken, went = database.taken, len(process.went)
    simulate([process], 400.0, begin=40.0)
    assert database.taken - taken <= 1.1 * (len(process.went) - went)


def test_in_a_pause_the_next_question_waits_for_the_end() -> None:
    queue = hold(Slice(10.0, 2, 10, 3))
    assert queue.take_turn(10.1) == 0.0
    queue.paused_until = 40.0
    assert queue.take_turn(10.15) is not None
    delay = queue.fetch_delay(10.15)
    assert delay is not None
    assert 29 < delay < 29.85


def hold(*slices: Slice, pause: float = 0.0, at: float = 0.0) -> TurnQueue:
    """A process with turns; its clock is the clock of the database."""
    queue = TurnQueue()
    for taken in slices:
        queue.add_slice(taken, pause, at, at, at)
    return queue


def test_a_turn_is_used_at_its_time_or_a_little_later_or_never() -> None:
    queue = hold(Slice(10.0, 3, 10, 3))
    assert queue.take_turn(9.5) == pytest.approx(0.5)
    assert queue.take_turn(10.19) == 0.0
    assert queue.take_turn(10.2) == 0.0
    assert queue.take_turn(10.41) is None
    assert hold(Slice(10.0, 1, 10, 3)).take_turn(10.201) is None


def test_a_pause_holds_all_turns_and_the_next_slice() -> None:
    queue = hold(Slice(10.0, 400, 10, 3), pause=30.0, at=10.0)
    assert queue.take_turn(10.0) == 30.0
    assert queue.wait_seconds(10.0) == 30.0
    assert queue.take_turn(40.0) == 0.0, "the first turns are too late; a later turn is not"
    other = TurnQueue()
    other.paused_until = 30.0
    assert other.take_turn(0.0) == 30.0
    assert other.fetch_delay(0.0) is None, "nothing was tried but to wait"


def test_nothing_is_asked_for_without_a_request() -> None:
    queue = hold(Slice(0.0, 1, 10, 3))
    assert queue.fetch_delay(0.0) is None
    assert queue.take_turn(0.0) == 0.0
    assert queue.fetch_delay(0.0) is None
    assert queue.take_turn(0.0) is None
    assert queue.fetch_delay(0.0) == 0.0


@given(
    st.floats(-1e9, 1e9),
    st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.2), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_the_bounds_of_the_clocks_hold_the_true_difference(
    true: float, rounds: list[tuple[float, float, float]]
) -> None:
    known, now = None, 0.0
    for there, back, gap in rounds:
        known = observe_offset(known, now, now + there + back, now + there + true)
        assert known.low - TINY <= true <= known.high + TINY
        assert known.error <= (there + back) / 2 + TINY
        now += there + back + gap


def test_a_clock_that_was_set_is_noticed() -> None:
    known = observe_offset(Offset(5.0, 5.001, 0.0), 1.0, 1.01, 61.0)
    assert [known.low, known.high] == pytest.approx([59.99, 60.0])
