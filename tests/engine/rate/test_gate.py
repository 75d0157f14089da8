"""Who goes through the gate, and when."""

import anyio
import pytest

from orchestrator.engine.rate.gate import Gate, Priority
from orchestrator.engine.rate.gcra import Gcra
from tests.engine.fakes import VirtualClock

pytestmark = pytest.mark.anyio


def make(rate: float = 10, burst: int = 1, most: int = 100) -> Gate:
    return Gate(Gcra(rate, burst), most, VirtualClock())


async def test_actions_go_before_reads_that_came_first() -> None:
    gate, order = make(), list[str]()

    async def ask(lane: Priority, name: str) -> None:
        async with gate.turn(lane):
            order.append(name)

    async with anyio.create_task_group() as group:
        async with gate.turn(Priority.READ):
            pass
        for number in range(3):
            group.start_soon(ask, Priority.READ, f"read {number}")
        await anyio.sleep(0.01)
        for number in range(3):
            group.start_soon(ask, Priority.ACT, f"act {number}")
    assert [name.split()[0] for name in order] == ["act"] * 3 + ["read"] * 3


async def test_reads_never_starve_under_an_endless_stream_of_actions() -> None:
    gate, reads = make(rate=100), list[float]()

    async def act() -> None:
        while True:
            async with gate.turn(Priority.ACT):
                pass

    async def read() -> None:
        while True:
            async with gate.turn(Priority.READ):
                reads.append(anyio.current_time())

    with anyio.move_on_after(10):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(act)
            group.start_soon(read)
    assert 98 <= len(reads) <= 102  # a tenth of 100 a second


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    gate, most = make(rate=1000, burst=100, most=3), 0

    async def ask() -> None:
        nonlocal most
        async with gate.turn(Priority.ACT):
            most = max(most, gate.in_flight)
            await anyio.sleep(1)

    started = anyio.current_time()
    async with anyio.create_task_group() as group:
        for _ in range(9):
            group.start_soon(ask)
    assert most == 3
    assert anyio.current_time() - started == pytest.approx(3, abs=0.1)


async def test_a_pause_that_begins_while_somebody_waits_holds_for_them() -> None:
    gate = make(rate=1)
    await gate.enter(Priority.ACT)
    async with anyio.create_task_group() as group:
        group.start_soon(gate.enter, Priority.ACT)
        await anyio.sleep(0.5)
        gate.pause(60)
    assert anyio.current_time() == pytest.approx(60.5)


async def test_one_who_gives_up_waiting_does_not_hold_up_the_next() -> None:
    gate = make(rate=1)
    await gate.enter(Priority.ACT)
    with anyio.move_on_after(0.2):
        await gate.enter(Priority.ACT)
    await gate.enter(Priority.READ)
    assert anyio.current_time() == pytest.approx(1)
    assert gate.passed == 2


async def test_one_who_gives_up_behind_others_does_not_take_their_place_along() -> None:
    gate, entered = make(rate=1), list[str]()
    await gate.enter(Priority.ACT)

    async def ask(name: str) -> None:
        await gate.enter(Priority.ACT)
        entered.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "first")
        await anyio.sleep(0.1)
        with anyio.move_on_after(0.2):
            await ask("second")
        group.start_soon(ask, "third")
    assert entered == ["first", "third"]
    assert anyio.current_time() == pytest.approx(2)


async def test_a_request_enters_without_a_wait_only_within_the_rate() -> None:
    gate = make(rate=1, burst=2)
    assert [gate.try_enter(Priority.ACT) for _ in range(3)] == [True, True, False]
    assert (gate.passed, gate.in_flight) == (2, 2)
    await anyio.sleep(1)
    assert gate.try_enter(Priority.ACT)


async def test_a_request_enters_without_a_wait_only_below_the_limit_in_flight() -> None:
    gate = make(rate=1000, burst=10, most=2)
    assert [gate.try_enter(Priority.READ) for _ in range(3)] == [True, True, False]
    gate.leave()
    assert gate.try_enter(Priority.READ)


async def test_a_request_without_a_wait_goes_after_waiting_requests_of_a_higher_priority() -> None:
    gate = make(burst=9, most=1)
    await gate.enter(Priority.ACT)
    async with anyio.create_task_group() as group:
        group.start_soon(gate.enter, Priority.ACT)
        await anyio.sleep(0.01)
        gate.max_in_flight = 9  # a request may go now, and the waiting action is next
        assert not gate.try_enter(Priority.READ)
        assert gate.try_enter(Priority.ACT)
        gate.leave()


async def test_a_closed_gate_admits_probes_alone() -> None:
    gate, order = make(rate=1000, burst=10), list[str]()

    async def ask(lane: Priority) -> None:
        async with gate.turn(lane):
            order.append(lane.name)

    gate.close()
    assert not gate.try_enter(Priority.ACT)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, Priority.ACT)
        group.start_soon(ask, Priority.READ)
        group.start_soon(ask, Priority.PROBE)
        await anyio.sleep(5)
        assert order == ["PROBE"]
        gate.open()
    assert order == ["PROBE", "ACT", "READ"]
    assert gate.try_enter(Priority.ACT)


async def test_only_a_long_new_pause_is_reported() -> None:
    gate, reported = make(), list[float]()
    gate.on_long_pause.append(reported.append)
    for seconds in (4.9, 9.8, 14.7, 19.7, 19.7, 3.0):
        gate.pause(seconds)
    assert reported == [19.7]
    assert gate.paused_for == pytest.approx(19.7)
    await anyio.sleep(20)
    assert gate.paused_for == 0
    gate.pause(5.0)
    assert reported == [19.7, 5.0]


async def test_a_request_after_nine_actions_is_a_read() -> None:
    gate, order = make(rate=100), list[str]()

    async def ask(lane: Priority) -> None:
        async with gate.turn(lane):
            order.append(lane.name)

    async with anyio.create_task_group() as group:
        async with gate.turn(Priority.READ):
            pass
        for _ in range(2):
            group.start_soon(ask, Priority.READ)
        for _ in range(20):
            group.start_soon(ask, Priority.ACT)
    assert [place for place, name in enumerate(order) if name == "READ"] == [9, 19]


@pytest.mark.parametrize("actions", [8, 9])
async def test_actions_without_a_wait_count_too_before_the_first_read(actions: int) -> None:
    gate, order = make(burst=20), list[str]()
    assert [gate.try_enter(Priority.ACT) for _ in range(actions)] == [True] * actions
    gate.pause(1)

    async def ask(lane: Priority) -> None:
        async with gate.turn(lane):
            order.append(lane.name)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, Priority.READ)
        group.start_soon(ask, Priority.ACT)
    assert order == (["READ", "ACT"] if actions == 9 else ["ACT", "READ"])


async def test_the_gate_says_how_many_requests_wait() -> None:
    gate = make(rate=1, burst=1, most=7)
    assert repr(gate).startswith("<Gate in_flight=0/7 waiting={'ACT': 0, 'READ': 0, 'PROBE': 0}")


@pytest.mark.parametrize(("rate", "adaptive", "inside"), [(None, False, 10), (2.0, False, 2), (2.0, True, 2)])
async def test_other_limits_hold_inside_the_block_alone(rate: float | None, adaptive: bool, inside: float) -> None:
    gate = make(rate=10, most=7)
    with gate.limited_to(3, rate, adaptive):
        assert gate.max_in_flight == 3
        assert min(gate.budget.rate, gate.budget.cap) == inside
        if adaptive:
            gate.budget.rate = 20  # learned meanwhile
    assert gate.max_in_flight == 7
    assert (gate.budget.rate, gate.budget.cap) == (20 if adaptive else 10, float("inf"))


async def test_a_long_pause_begun_by_another_run_is_reported_once() -> None:
    gate, reported = make(), list[float]()
    gate.on_long_pause.append(reported.append)
    gate.budget.pause(30, anyio.current_time())  # as a shared budget learns of the pause, without the gate
    for _ in range(2):
        with anyio.move_on_after(1):
            await gate.enter(Priority.READ)
    assert reported == [30]
