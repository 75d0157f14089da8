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
