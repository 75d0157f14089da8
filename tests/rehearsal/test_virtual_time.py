"""The virtual loop: waits take no real time, threads stop the clock, and a deadlock is an error."""

import threading

import anyio
import anyio.to_thread
import pytest

from orchestrator.rehearsal.virtual_time import DeadlockError, run_on_virtual_time


def test_an_hour_passes_at_once_and_timers_keep_their_order() -> None:
    order = []

    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append((seconds, anyio.current_time()))

    async def main() -> float:
        async with anyio.create_task_group() as group:
            for seconds in (3600.0, 0.5, 60.0):
                group.start_soon(wait, seconds)
        with anyio.move_on_after(400):
            await anyio.sleep_forever()
        return anyio.current_time()

    assert run_on_virtual_time(main) == 4000.0
    assert order == [(0.5, 0.5), (60.0, 60.0), (3600.0, 3600.0)]


def test_the_clock_stands_still_while_a_thread_works() -> None:
    async def main() -> float:
        go_on = threading.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 1000)
            threading.Timer(0.05, go_on.set).start()
            await anyio.to_thread.run_sync(go_on.wait)
            group.cancel_scope.cancel()
        return anyio.current_time()

    assert run_on_virtual_time(main) == 0.0


def test_a_wait_without_an_end_is_an_error() -> None:
    async def main() -> None:
        await anyio.Event().wait()

    with pytest.raises(DeadlockError):
        run_on_virtual_time(main)
