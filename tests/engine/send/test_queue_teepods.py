"""The next target to send, with teepods in turn or in an order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job
from orchestrator.engine.send.queue import OrderedQueue, StopQueue
from tests.engine.fakes import work_of


def on(teepod: int, number: int) -> Job:
    return work_of(CvmRef(f"cvm_{teepod}_{number}", None, "x", None, teepod, None))


def test_teepods_take_turns() -> None:
    queue = StopQueue(10)
    for number in range(3):
        queue.push(on(1, number))
    queue.push(on(2, 0))
    order = [job.ref.teepod_id for job in iter(lambda: queue.pop(0), None)]
    assert order == [1, 2, 1, 1]


def test_with_an_order_the_first_goes_first_whatever_its_teepod() -> None:
    queue = OrderedQueue(10)
    jobs = [on(1, 0), on(1, 1), on(2, 0), on(1, 2)]
    for job in jobs:
        queue.push(job)
    assert list(iter(lambda: queue.pop(0), None)) == jobs


def test_with_an_order_one_that_was_put_aside_comes_back_to_its_own_place() -> None:
    queue = OrderedQueue(10)
    first, second, third = on(1, 0), on(1, 1), on(2, 0)
    for job in (first, second, third):
        queue.push(job)
    assert queue.pop(0) is first
    queue.count_answer(first)
    queue.defer_job(first, 5)
    assert [queue.pop(0), queue.pop(6), queue.pop(6)] == [second, first, third]


BOTH = pytest.mark.parametrize("kind", [StopQueue, OrderedQueue])


@BOTH
def test_a_full_teepod_waits_while_others_go_on(kind: type[StopQueue | OrderedQueue]) -> None:
    queue = kind(1)
    first, second, other = on(1, 0), on(1, 1), on(2, 0)
    for job in (first, second, other):
        queue.push(job)
    assert [queue.pop(0), queue.pop(0), queue.pop(0)] == [first, other, None]
    queue.count_answer(first)
    assert queue.pop(0) is second


@BOTH
def test_a_teepod_has_as_many_requests_under_way_as_its_limit_and_an_answer_makes_room_for_one(
    kind: type[StopQueue | OrderedQueue],
) -> None:
    queue, jobs = kind(3), [on(1, number) for number in range(8)]
    for job in jobs:
        queue.push(job)
    assert [queue.pop(0) for _ in range(4)] == [*jobs[:3], None]
    queue.count_answer(jobs[0])
    assert [queue.pop(0), queue.pop(0)] == [jobs[3], None]
    queue.count_answer(jobs[1])
    queue.count_answer(jobs[2])
    assert [queue.pop(0), queue.pop(0), queue.pop(0)] == [*jobs[4:6], None]


@BOTH
def test_a_target_added_to_a_full_teepod_waits(kind: type[StopQueue | OrderedQueue]) -> None:
    queue, first, second = kind(1), on(1, 0), on(1, 1)
    queue.push(first)
    assert queue.pop(0) is first
    queue.push(second)
    assert queue.pop(0) is None
    queue.count_answer(first)
    assert queue.pop(0) is second


def test_a_target_back_at_its_place_in_the_order_gives_no_second_request_to_its_teepod() -> None:
    queue, first, second = OrderedQueue(1), on(1, 0), on(1, 1)
    queue.push(first)
    assert queue.pop(0) is first
    queue.count_answer(first)
    queue.push(second)
    queue.push(first)
    assert [queue.pop(0), queue.pop(0)] == [first, None]


@BOTH
def test_what_is_deferred_comes_back_when_it_is_due(kind: type[StopQueue | OrderedQueue]) -> None:
    queue, job = kind(5), on(1, 0)
    queue.defer_job(job, 10)
    assert queue.next_due() == 10
    assert queue.pop(9.9) is None
    assert queue.pop(10) is job


@given(
    st.sampled_from([StopQueue, OrderedQueue]),
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(["push", "pop", "done", "defer"]), st.integers(0, 3)), min_size=30, max_size=200
    ),
)
def test_nothing_is_lost_or_doubled_and_no_teepod_exceeds_its_share(
    kind: type[StopQueue | OrderedQueue], limit: int, steps: list[tuple[str, int]]
) -> None:
    queue, waiting, under_way, now = kind(limit), list[Job](), list[Job](), 0.0
    for number, (step, teepod) in enumerate(steps):
        now += 1
        if step in {"push", "defer"}:
            job = on(teepod, number)
            waiting.append(job)
            queue.push(job) if step == "push" else queue.defer_job(job, now + teepod)
        elif step == "pop":
            popped = queue.pop(now)
            if popped is not None:
                waiting.remove(popped)
                under_way.append(popped)
        elif under_way:
            queue.count_answer(under_way.pop(teepod % len(under_way)))
        shares = Counter(job.ref.teepod_id for job in under_way)
        assert len(queue) == len(waiting)
        assert not shares or max(shares.values()) <= limit
    while under_way or waiting:
        popped = queue.pop(now + 10)
        if popped is None:
            assert under_way, "what waits is popped once there is room"
            queue.count_answer(under_way.pop())
        else:
            waiting.remove(popped)
            under_way.append(popped)
