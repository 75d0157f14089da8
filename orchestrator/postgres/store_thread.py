"""The side of a process that talks to the team store: an event loop in a thread of its own.

So leases are renewed while a command waits for a person, or while the event loop of a run is busy.
"""

import atexit
import threading
import uuid
from asyncio import wrap_future
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestrator.audit.log import Batch
from orchestrator.errors import OrchestratorError
from orchestrator.postgres.claims import StoreClaims
from orchestrator.postgres.connect import connect
from orchestrator.postgres.lease import BASE_FORMAT, UNCHANGED, Fence, Lease, Release, let_go_run, take_run
from orchestrator.postgres.lease_keeper import LeaseKeeper
from orchestrator.postgres.link import Link
from orchestrator.postgres.migrate import check_version, read_version
from orchestrator.postgres.record_writer import RecordWriter
from orchestrator.times import boot_seconds

_T = TypeVar("_T")
_LONGEST_STATEMENT, _LONGEST_TRANSFER = 10.0, 60.0
_CLOCK_EVERY_S = 600.0
_READ_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


@dataclass(frozen=True, slots=True)
class StoreTerms:
    """The settings of the team store, and the name of this process.

    Attributes:
        url: the URL of the database.
        holder: name of this process for people, such as `ann@host:4711`.
        lease: the length of a lease, in seconds.
        outage: the longest outage of the database, in seconds.
        request: the longest duration of a request to the cloud, in seconds.
        listen: False behind PgBouncer in transaction mode.
    """

    url: str
    holder: str
    lease: float = 60.0
    outage: float = 600.0
    request: float = 30.0
    listen: bool = True


@dataclass(frozen=True, slots=True)
class NewRun:
    """The facts of a run begun by this process.

    Attributes:
        run_id: the run.
        workspace: the workspace by its name in the settings; None for a fleet run.
        playbook: the name of the playbook.
        by: user@host.
        budget: rate and burst of the workspace, for a workspace without a budget.
    """

    run_id: str
    workspace: str | None
    playbook: str
    by: str
    budget: tuple[float, int]


class StoreThread:
    """Event loop, connections and leases of this process. The first call starts the thread. For any thread.

    Attributes:
        terms: the settings.
        claims: the claims on CVMs.
    """

    def __init__(self, terms: StoreTerms) -> None:
        self.terms = terms
        self._link = Link(terms.url, listen=terms.listen, timeout=min(_LONGEST_STATEMENT, terms.lease / 3))
        # Connections of their own for records, with more time: no other statement waits for a large record, and a slow
        # network may take long. A silent network breaks these connections sooner, by `tcp_user_timeout`.
        self._record_link = Link(terms.url, listen=terms.listen, timeout=_LONGEST_TRANSFER)
        self._read_link = Link(terms.url, listen=terms.listen, timeout=_LONGEST_TRANSFER)
        self._keeper = LeaseKeeper(self._link.query, terms.lease)
        self._writer = RecordWriter(self._record_link.query, terms.lease, terms.outage)
        self.claims = StoreClaims(self._link.query, self.call, terms.lease, on_lost=self._lose)
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stack: ExitStack | None = None
        self._portal: BlockingPortal | None = None
        self._offset = 0.0

    # The thread ------------------------------------------------------------------------------------------------------

    def start(self, do: Callable[[], Awaitable[_T]]) -> "Future[_T]":
        """Run an async function in the store's event loop.

        Raises:
            StoreDownError: when the thread was not started before, and the database can't be reached.
            SettingsError: the same, when the database or its schema is unusable.
        """
        return self._open_portal().start_task_soon(do)

    def call(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Run an async function in the store's event loop, and return its result; errors as in `start`."""
        return self.start(do).result()

    async def wait(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Run an async function in the store's event loop, from a task of another asyncio event loop."""
        return await wrap_future(self.start(do))

    def close(self) -> None:
        """End the thread; leases run out by themselves. A later call starts the thread again."""
        with self._lock:
            stack, self._stack, self._portal = self._stack, None, None
        if stack is not None:
            stack.close()
            atexit.unregister(self.close)

    def _open_portal(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                self._check_schema()
                self._stack = ExitStack()
                self._portal = self._stack.enter_context(start_blocking_portal("asyncio", name="team-store"))
                self._stack.callback(_cancel_tasks, self._portal)
                self._portal.start_task_soon(self._serve)
                atexit.register(self.close)
            return self._portal

    def _check_schema(self) -> None:
        with connect(self.terms.url, listen=self.terms.listen) as connection:
            check_version(read_version(connection))
            asked_at = boot_seconds()
            row = connection.execute(_READ_CLOCK).fetchone()
            assert row is not None  # noqa: S101 - one row
            self._offset = row[0] - asked_at

    async def _follow_clock(self) -> None:
        """Compare the clocks now and then: the clocks of two machines drift apart in a long process."""
        while True:
            await anyio.sleep(_CLOCK_EVERY_S)
            asked_at = boot_seconds()
            with suppress(OrchestratorError):
                ((now,),) = await self._link.query(_READ_CLOCK)
                self._offset = now - asked_at

    async def _serve(self) -> None:
        try:
            async with self._keeper.keep(), self._writer.work(), anyio.create_task_group() as group:
                group.start_soon(self._follow_clock)
                await self.claims.run()
        finally:
            await self._link.close()
            await self._record_link.close()
            await self._read_link.close()

    # Statements ------------------------------------------------------------------------------------------------------

    async def query_inside(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement; for tasks of the store's event loop, as `Link.query`."""
        return await self._link.query(statement, arguments)

    def start_query(self, statement: str, arguments: Sequence[object] = ()) -> "Future[list[tuple[Any, ...]]]":
        """Begin a statement, for any thread."""
        return self.start(partial(self._link.query, statement, arguments))

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement, and return its rows, for any thread.

        Raises:
            StoreDownError: when the database can't be reached, or gives no answer in time.
            SettingsError: when the database refuses the statement.
        """
        return self.start_query(statement, arguments).result()

    def read(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        """Execute a statement with a large result, as `query`."""
        return self.call(partial(self._read_link.query, statement, arguments))

    def wall(self) -> datetime:
        """Return the time of day by the database's clock, as far as known: all machines have the same time."""
        if self._portal is None:
            self._open_portal()
        return datetime.fromtimestamp(boot_seconds() + self._offset, UTC)

    # Runs ------------------------------------------------------------------------------------------------------------

    def find_lease(self, run_id: str) -> Lease | None:
        """Return the lease of a run held by this process; None without such a lease."""
        lease = self._held.get(run_id)
        return None if lease is None or lease.is_lost else lease

    def take(self, run_id: str, taker: str) -> Lease | None:
        """Take a run for this process, and renew its lease from now on; as `take_run`."""
        return self.call(partial(self.take_inside, run_id, taker))

    async def take_inside(self, run_id: str, taker: str) -> Lease | None:
        """Take a run, for tasks of the store's event loop."""
        lease = await take_run(self._link.query, run_id, self.terms.holder, self.terms.lease, taker=taker)
        return None if lease is None else self._hold(lease)

    def begin(self, run: NewRun) -> Lease | None:
        """Add a run of this process to the store, and hold its lease; None when the id exists."""
        return self.call(partial(self._begin, run))

    async def _begin(self, run: NewRun) -> Lease | None:
        if run.workspace is not None:
            await self._link.query(
                "SELECT FROM orchestrator.set_budget(%s, %s, %s, false, %s)", [run.workspace, *run.budget, run.by]
            )
        lease_id, asked_at, seconds = uuid.uuid4(), boot_seconds(), self.terms.lease
        facts = [run.run_id, run.workspace, run.playbook, '{"v": 1}', BASE_FORMAT, run.by]
        rows = await self._link.query(
            "SELECT epoch FROM orchestrator.begin_run(%s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s)",
            [*facts, lease_id, self.terms.holder, timedelta(seconds=seconds)],
        )
        if not rows:
            return None
        fence = Fence(run.run_id, rows[0][0], lease_id)
        return self._hold(Lease(fence, seconds, asked_at, workspace=run.workspace or "", state="ready"))

    def _hold(self, lease: Lease) -> Lease:
        self._held[lease.run_id] = lease
        self._keeper.add(lease)
        return lease

    def _lose(self, run_id: str) -> None:
        if run_id in self._held:
            self._held[run_id].lose()

    def start_write(self, lease: Lease, batch: Batch) -> "Future[None]":
        """Begin to write a batch of a held run, as `RecordWriter.write`."""
        return self.start(partial(self._writer.write, lease, batch))

    def let_go(self, lease: Lease, release: Release = UNCHANGED) -> bool:
        """End a lease of this process, as `let_go_run`. For a lease that was let go before, do nothing.

        During an outage of the database, return False at once: the lease ends as soon as the database is up, or by
        itself.
        """
        if self._held.get(lease.run_id) is not lease:
            return False
        ending = self.start(partial(self.let_go_inside, lease, release))
        return False if self._writer.is_down else ending.result()

    async def let_go_inside(self, lease: Lease, release: Release = UNCHANGED) -> bool:
        """End a lease, for tasks of the store's event loop."""
        self._keeper.remove(lease)
        self._held.pop(lease.run_id, None)
        return await let_go_run(self._link.query, lease, release)


def _cancel_tasks(portal: BlockingPortal) -> None:
    with suppress(RuntimeError):  # not running any more
        portal.call(portal.stop, True)  # noqa: FBT003 - cancel the tasks


@cache
def open_thread(terms: StoreTerms) -> StoreThread:
    """Return the only thread of this process for a store."""
    return StoreThread(terms)
