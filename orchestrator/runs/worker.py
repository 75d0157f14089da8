"""Worker: claim runs of the team store, plan and execute these runs, and release unfinished runs at its end.

The lease of a run decides who carries the run out. Jobs and sweeps only offer runs, so an offer may come twice or late.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from orchestrator.errors import AuditError, OrchestratorError, StoreDownError
from orchestrator.outcome import Ending
from orchestrator.postgres.lease import Release
from orchestrator.postgres.queue import Stop
from orchestrator.runs.held_run import HeldRun, LeaseTaker
from orchestrator.runs.worker_run import explain

SWEEP_EVERY_S = 2.0
ANSWERS_S = 2.0
"""Seconds for the answers to sent requests at a hand-over."""
LAST_RECORDS_S = 2.0
"""Seconds for the last records of a hand-over."""


class OfferQueue(Protocol):
    """Offers of runs, and signs of life."""

    async def sweep(self) -> list[Stop]:
        """Show that this worker lives, queue free runs, and return the runs to end."""
        ...

    async def work(self, offer: Callable[[str], Awaitable[None]], warn: Callable[..., object]) -> None:
        """Offer runs until cancelled."""
        ...

    async def queue_again(self, run_id: str) -> None:
        """Offer a run that was let go to the other workers."""
        ...

    async def forget(self) -> None:
        """Take this worker off the list of workers."""
        ...


class Worker:
    """Carries out runs of the team store until stopped."""

    def __init__(
        self,
        queue: OfferQueue,
        leases: LeaseTaker,
        carry: Callable[[HeldRun], Awaitable[None]],
        *,
        runs: int,
        emit: Callable[..., object],
    ) -> None:
        """Set up.

        Args:
            queue: offers runs.
            leases: takes runs.
            carry: carries a run out, as `RunCarrier`.
            runs: the most runs at once.
            emit: called with an event's name, and its facts by keyword.
        """
        self._queue, self._leases, self._carry, self._emit = queue, leases, carry, emit
        self._held: dict[str, HeldRun] = {}
        self._free = anyio.Semaphore(runs)
        self._stopping = anyio.Event()
        self._trouble: str | None = None
        self._runs: TaskGroup | None = None

    def stop(self) -> None:
        """Hand over all runs, and end. For the event loop of the worker."""
        self._stopping.set()

    async def __call__(self) -> None:
        """Work until `stop`."""
        async with anyio.create_task_group() as self._runs:
            while not self._stopping.is_set():
                try:
                    await self._take_offers()
                except Exception as error:  # noqa: BLE001 - a bug must not end the worker and its runs
                    self._emit("worker.bug", exc_info=error)
                    await anyio.sleep(SWEEP_EVERY_S)
            await self._hand_over()
            self._runs.cancel_scope.cancel()
        await self._queue.forget()

    async def _take_offers(self) -> None:
        """Take offers until `stop`."""
        async with anyio.create_task_group() as feeders:
            feeders.start_soon(self._sweep)
            feeders.start_soon(self._queue.work, self._offer, self._emit)
            await self._stopping.wait()
            feeders.cancel_scope.cancel()

    # Offers ----------------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            try:
                for stop in await self._queue.sweep():
                    held = self._held.get(stop.run_id)
                    if held is not None:
                        held.stop.request_end(Ending.CANCELLED, at_once=stop.at_once, by=stop.by)
                if self._trouble is not None:
                    self._trouble = None
                    self._emit("store.up")
            except OrchestratorError as error:
                if self._trouble != error.message:
                    self._trouble = error.message
                    self._emit(
                        "store.down" if isinstance(error, StoreDownError) else "store.refuses", reason=str(error)
                    )
            await anyio.sleep(SWEEP_EVERY_S)

    async def _offer(self, run_id: str) -> None:
        """Take a run if there is room; wait for room otherwise. Other workers take the run meanwhile."""
        if run_id in self._held:
            return
        await self._free.acquire()
        held: HeldRun | None = None
        try:
            held = await self._take(run_id)
        finally:
            if held is None:
                self._free.release()
        if held is not None:
            assert self._runs is not None  # noqa: S101 - offers come within the group
            self._runs.start_soon(self._hold, held)

    async def _take(self, run_id: str) -> HeldRun | None:
        # Shielded: a lease taken in the thread has to be known here, also at the end of the worker.
        with anyio.CancelScope(shield=True):
            try:
                lease = await anyio.to_thread.run_sync(self._leases.take, run_id, "worker")
            except OrchestratorError:
                return None  # the sweep offers the run again
        if lease is None:
            return None
        held = self._held[run_id] = HeldRun(lease, self._leases, self._free)
        if self._stopping.is_set():
            held.stop.request_end(Ending.SIGTERM)
        return held

    # Runs ------------------------------------------------------------------------------------------------------------

    async def _hold(self, held: HeldRun) -> None:
        """Carry a run out, and let the run go whatever happens."""
        lease = held.lease
        lease.when_lost(partial(_call_in, asyncio.get_running_loop(), held.scope.cancel))
        self._emit("worker.took", run_id=held.run_id, workspace=lease.workspace, epoch=lease.epoch)
        try:
            with held.scope:
                await self._carry(held)
        except (AuditError, StoreDownError) as error:
            self._emit("worker.waits", run_id=held.run_id, reason=explain(error))
        except OrchestratorError as error:
            await held.let_go(Release("left", reason=explain(error)))
        except Exception as error:  # noqa: BLE001 - a bug in one run must not end the other runs
            self._emit("worker.bug", run_id=held.run_id, exc_info=error)
            await held.let_go(Release("left", reason=f"a bug ended the run: {type(error).__name__}"))
        finally:
            with anyio.CancelScope(shield=True):
                await held.let_go()
                if held.is_handed_over:
                    await self._queue.queue_again(held.run_id)
            self._emit("worker.lost" if lease.is_lost else "worker.let_go", run_id=held.run_id)
            del self._held[held.run_id]
            held.ended.set()
            held.give_place()

    # The end ---------------------------------------------------------------------------------------------------------

    async def _hand_over(self) -> None:
        """End all runs within seconds, each with a last record; another worker continues the runs."""
        for at_once, seconds in ((False, ANSWERS_S), (True, LAST_RECORDS_S)):
            for held in self._held.values():
                held.stop.request_end(Ending.SIGTERM, at_once=at_once)
            with anyio.move_on_after(seconds):
                for held in list(self._held.values()):
                    await held.ended.wait()
        if self._held:  # the database is down, and the last records wait: the leases run out by themselves
            self._emit("worker.gave_up", runs=len(self._held))
            await anyio.to_thread.run_sync(self._leases.close)


def _call_in(loop: asyncio.AbstractEventLoop, do: Callable[[], object]) -> None:
    """Call a function in an event loop, from another thread."""
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(do)
