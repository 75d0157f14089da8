"""The loop of a worker: offers, leases, room, wishes to end runs, the hand-over. Without a database."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

from orchestrator.errors import AuditError, SettingsError, StoreDownError
from orchestrator.outcome import Ending
from orchestrator.postgres.lease import UNCHANGED, Fence, Lease, Release
from orchestrator.postgres.queue import Stop
from orchestrator.runs import worker as worker_module
from orchestrator.runs.held_run import HeldRun
from orchestrator.runs.worker import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeQueue:
    """Offers the runs put into it."""

    def __init__(self) -> None:
        self.send, self._receive = anyio.create_memory_object_stream[str](100)
        self.sweeps: list[list[Stop] | Exception] = []
        self.again: list[str] = []
        self.is_forgotten = False
        self.swept = anyio.Event()
        self.breaks: list[BaseException] = []

    async def sweep(self) -> list[Stop]:
        found = self.sweeps.pop(0) if self.sweeps else []
        if not self.sweeps:
            self.swept.set()
        if isinstance(found, Exception):
            raise found
        return found

    async def work(self, offer: Callable[[str], Awaitable[None]], warn: Callable[..., object]) -> None:
        del warn
        async for run_id in self._receive:
            await offer(run_id)
            if self.breaks:
                raise self.breaks.pop()

    def close(self) -> None:
        self.send.close()
        self._receive.close()

    async def queue_again(self, run_id: str) -> None:
        self.again.append(run_id)

    async def forget(self) -> None:
        self.is_forgotten = True


class FakeLeases:
    """Gives every run once; `taken` runs are held by another worker."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.held: dict[str, Lease] = {}
        self.let_go_as: dict[str, tuple[str | None, int | None, str | None]] = {}
        self.is_closed = anyio.Event()

    def take(self, run_id: str, taker: str) -> Lease | None:
        assert taker == "worker"
        if run_id in self.taken:
            return None
        self.taken.add(run_id)
        lease = self.held[run_id] = Lease(Fence(run_id, 1, uuid.uuid4()), 60, 0.0, workspace="prod")
        return lease

    def close(self) -> None:
        anyio.from_thread.run_sync(self.is_closed.set)

    def let_go(self, lease: Lease, release: Release = UNCHANGED) -> bool:
        if self.held.pop(lease.run_id, None) is None:
            return False
        self.let_go_as[lease.run_id] = (release.state, release.exit_code, release.reason)
        return True


class Crew:
    """A worker with its fakes; a run goes on until the test or a wish ends the run."""

    def __init__(self, runs: int = 50) -> None:
        self.queue, self.leases = FakeQueue(), FakeLeases()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.running: dict[str, HeldRun] = {}
        self.finish: dict[str, anyio.Event] = {}
        self.fail: dict[str, Exception] = {}
        self.is_down = False
        self.worker = Worker(
            self.queue,
            self.leases,
            self._carry,
            runs=runs,
            emit=lambda name, **facts: self.events.append((name, facts)),
        )

    async def _carry(self, held: HeldRun) -> None:
        if held.run_id in self.fail:
            raise self.fail[held.run_id]
        self.running[held.run_id] = held
        self.finish[held.run_id] = anyio.Event()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._end_on, held.stop.at_once, group.cancel_scope)
                await self.finish[held.run_id].wait()
                group.cancel_scope.cancel()
            if self.is_down:  # the last record waits for the database
                with anyio.CancelScope(shield=True):
                    await self.leases.is_closed.wait()
        finally:
            del self.running[held.run_id]

    @staticmethod
    async def _end_on(event: anyio.Event, scope: anyio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def until(self, is_so: Callable[[], object]) -> None:
        """Let the tasks go on until something is so."""
        with anyio.fail_after(5):
            while not is_so():
                await anyio.lowlevel.checkpoint()

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


@asynccontextmanager
async def working(crew: Crew) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(crew.worker)
        yield
        crew.worker.stop()
    crew.queue.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SWEEP_EVERY_S", "ANSWERS_S"):
        monkeypatch.setattr(worker_module, name, 0.01)


async def test_an_offered_run_is_taken_once_and_let_go_at_its_end() -> None:
    crew = Crew()
    async with working(crew):
        for run_id in ("a", "a", "b"):
            await crew.queue.send.send(run_id)
        await crew.until(lambda: set(crew.running) == {"a", "b"})
        crew.finish["a"].set()
        await crew.until(lambda: crew.leases.let_go_as)
    assert crew.leases.let_go_as == {"a": (None, None, None), "b": (None, None, None)}
    assert crew.queue.is_forgotten
    assert crew.queue.again == ["b"]


async def test_a_run_of_another_worker_is_left_alone() -> None:
    crew = Crew()
    crew.leases.taken.add("a")
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.queue.send.send("b")
        await crew.until(lambda: crew.running)
        assert set(crew.running) == {"b"}


async def test_a_full_worker_takes_no_run_until_a_run_ends() -> None:
    crew = Crew(runs=2)
    async with working(crew):
        for run_id in ("a", "b", "c"):
            await crew.queue.send.send(run_id)
        await crew.until(lambda: len(crew.running) == 2)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert "c" not in crew.leases.taken
        crew.finish["b"].set()
        await crew.until(lambda: set(crew.running) == {"a", "c"})


async def test_a_run_that_waits_for_other_runs_leaves_its_place_to_the_next_run() -> None:
    crew = Crew(runs=1)
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.queue.send.send("b")
        await crew.until(lambda: crew.running)
        first = crew.running["a"]
        first.give_place()
        first.give_place()
        await crew.until(lambda: "b" in crew.running)
        async with anyio.create_task_group() as group:
            group.start_soon(first.wait_for_place)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert not first.has_place
            crew.finish["b"].set()
        assert first.has_place
        await crew.queue.send.send("c")
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert "c" not in crew.leases.taken


async def test_a_wish_to_end_a_run_reaches_the_run_with_the_name_of_the_person() -> None:
    crew = Crew()
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.until(lambda: crew.running)
        held = crew.running["a"]
        crew.queue.sweeps = [[Stop("a", at_once=False, by="ann@host"), Stop("other", at_once=True, by=None)]]
        await held.stop.requested.wait()
        assert (held.stop.ending, held.stop.by, held.stop.at_once.is_set()) == (Ending.CANCELLED, "ann@host", False)
        assert held.is_cancelled
        crew.queue.sweeps = [[Stop("a", at_once=True, by="ann@host")]]
        await crew.until(lambda: "worker.let_go" in crew.names())
    assert crew.queue.again == []


async def test_the_end_of_the_worker_hands_all_runs_over() -> None:
    crew = Crew()
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.until(lambda: crew.running)
        held = crew.running["a"]
    assert (held.stop.ending, held.is_handed_over, held.ended.is_set()) == (Ending.SIGTERM, True, True)
    assert crew.leases.let_go_as == {"a": (None, None, None)}
    assert crew.queue.again == ["a"]


async def test_a_worker_ends_within_seconds_while_the_database_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LAST_RECORDS_S", 0.01)
    crew = Crew()
    crew.is_down = True
    with anyio.fail_after(5):
        async with working(crew):
            await crew.queue.send.send("a")
            await crew.until(lambda: crew.running)
    assert "worker.gave_up" in crew.names()


async def test_a_lost_lease_ends_the_run_here_at_once() -> None:
    crew = Crew()
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.until(lambda: crew.running)
        await anyio.to_thread.run_sync(crew.leases.held["a"].lose)
        await crew.until(lambda: not crew.running)
        await crew.until(lambda: "worker.lost" in crew.names())


@pytest.mark.parametrize(
    ("error", "state", "event"),
    [
        (AuditError("the log can't be written"), None, "worker.waits"),
        (StoreDownError("the store can't be reached"), None, "worker.waits"),
        (SettingsError("the log was altered", hint="start a new run"), "left", "worker.took"),
        (ZeroDivisionError("a bug"), "left", "worker.bug"),
    ],
)
async def test_a_failed_run_is_let_go_and_the_other_runs_go_on(error: Exception, state: str | None, event: str) -> None:
    crew = Crew()
    crew.fail["a"] = error
    async with working(crew):
        await crew.queue.send.send("b")
        await crew.queue.send.send("a")
        await crew.until(lambda: "a" in crew.leases.let_go_as)
        assert set(crew.running) == {"b"}
    assert crew.leases.let_go_as["a"][0] == state
    assert event in crew.names()


async def test_an_outage_of_the_database_is_reported_once_and_so_is_its_end() -> None:
    crew = Crew()
    down = StoreDownError("the store can't be reached")
    crew.queue.sweeps = [down, down, SettingsError("no rights"), []]
    async with working(crew):
        await crew.queue.swept.wait()
        await crew.until(lambda: "store.up" in crew.names())
    assert crew.names() == ["store.down", "store.refuses", "store.up"]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ZeroDivisionError("a bug")])
async def test_a_cancellation_or_a_bug_in_the_queue_ends_neither_the_worker_nor_its_runs(error: BaseException) -> None:
    crew = Crew()
    crew.queue.breaks = [error]
    async with working(crew):
        await crew.queue.send.send("a")
        await crew.until(lambda: not crew.queue.breaks)
        await crew.queue.send.send("b")
        await crew.until(lambda: set(crew.running) == {"a", "b"})
        assert not crew.queue.is_forgotten
