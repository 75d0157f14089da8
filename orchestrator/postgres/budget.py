"""Rate budget of a workspace in the team store: shared by the runs of all machines.

A task takes turns from the database ahead of time, in slices; requests use the turns without a wait for the database.
While the database is down, requests wait. A pause asked for by the API goes into the database, and holds all runs.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.errors import StoreDownError
from orchestrator.postgres.lease import Fence
from orchestrator.postgres.link import Query
from orchestrator.postgres.turns import Slice, TurnQueue
from orchestrator.times import boot_seconds

_RETRY, _LONGEST_RETRY = 0.001, 0.25
"""Seconds until another attempt at a turn, while the answer of the database is on its way, or the database is down."""
_FENCED_RETRY = 1.0
_BACKOFF, _LONGEST_BACKOFF = 0.1, 2.0
"""Seconds between two questions to a database that is down."""


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """Rate and burst of a workspace.

    Attributes:
        rate: requests per second.
        burst: the most requests at once.
    """

    rate: float
    burst: int

    def __str__(self) -> str:
        return f"{self.rate:g} requests per second, burst {self.burst}"


async def agree_terms(
    query: Query, workspace: str, terms: BudgetTerms, *, is_explicit: bool, by: str
) -> tuple[BudgetTerms, str | None]:
    """Agree on the budget of a workspace with the other machines.

    Explicit settings replace the budget in the store. Default settings are for a workspace without a budget.

    Args:
        query: executes a statement.
        workspace: the workspace.
        terms: the budget by the settings of this machine.
        is_explicit: whether the settings name the rate.
        by: this process, as user@host.

    Returns:
        The budget that holds; and a warning about another machine's replaced budget, if any.

    Raises:
        StoreDownError: when the database can't be reached.
        SettingsError: when the user has no rights.
    """
    arguments = [workspace, terms.rate, terms.burst, is_explicit, by]
    ((rate, burst, earlier_rate, earlier_burst, earlier_by),) = await query(
        "SELECT * FROM orchestrator.set_budget(%s, %s, %s, %s, %s)", arguments
    )
    present = BudgetTerms(rate, burst)
    if earlier_by in {None, by} or (earlier_rate, earlier_burst) == (rate, burst):
        return present, None
    earlier = BudgetTerms(earlier_rate, earlier_burst)
    return present, f"workspace {workspace} has {present} from now on; {earlier_by} had set {earlier}"


class StoreBudget:
    """The turns of one session from the budget of its workspace. One task of an event loop runs `run`.

    All other methods may be called from another thread: they never wait for the database.
    """

    def __init__(
        self,
        query: Query,
        workspace: str,
        fence: Fence | None = None,
        *,
        warn: Callable[..., object] = lambda *_, **__: None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        """Set up, without turns yet.

        Args:
            query: executes a statement, in the event loop of `run`.
            workspace: the workspace.
            fence: the right of the run to take turns; None for a process without a run yet.
            warn: called with an event's name, and its facts by keyword, when the database refuses a statement;
                in the thread of `take_turn`.
            clock: seconds on a clock that also counts the sleep of this machine.
        """
        self._query, self._warn, self._clock = query, warn, clock
        self._workspace, self._fence = workspace, fence
        self._turns = TurnQueue()
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._is_down = self._is_fenced = self._is_closed = False
        self._pause_until: float | None = None
        self._problem: str | None = None
        self._is_asleep = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakeup = asyncio.Event()

    def __repr__(self) -> str:
        return f"<StoreBudget {self._workspace} {self._turns!r}>"

    def hold(self, fence: Fence, workspace: str) -> None:
        """Take turns for a run from now on: another take of the run ends them.

        Args:
            fence: the right of the run.
            workspace: the workspace of the run, perhaps under another name than in the settings of this machine.
        """
        with self._lock:
            self._fence, self._workspace = fence, workspace

    def take_turn(self) -> float:
        """Use a turn and return 0; without a turn, return the seconds until another attempt, never infinite."""
        if self._is_fenced or self._is_closed:
            return _FENCED_RETRY
        if self._problem is not None:  # in the thread of the run
            self._warn("rate.no_turns", reason=self._problem)
            self._problem = None
        with self._lock:
            now = self._clock()
            wait = self._turns.take_turn(now)
            has_work = self._is_asleep and self._turns.fetch_delay(now) is not None
        if has_work:
            self._wake()
        return self._retry_seconds(now) if wait is None else wait

    def wait_seconds(self) -> float:
        """Estimate the seconds until the next request may go; never infinite."""
        if self._is_fenced or self._is_closed:
            return _FENCED_RETRY
        with self._lock:
            return self._turns.wait_seconds(self._clock())

    def pause(self, seconds: float) -> None:
        """Hold the requests of all runs of the workspace for some seconds."""
        with self._lock:
            until = self._clock() + seconds
            self._turns.paused_until = max(self._turns.paused_until, until)
            self._pause_until = max(self._pause_until or until, until)
        self._wake()

    def paused_for(self) -> float:
        """Remaining seconds of a pause of this run or, with the last slice, of another run."""
        return max(0.0, self._turns.paused_until - self._clock())

    def is_shared(self) -> bool:
        """Return True: runs of other machines may use the budget at any time."""
        return True

    def close(self) -> None:
        """End `run`. A second call does nothing."""
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        """Take slices from the database as needed, until `close` or another take of the run."""
        self._loop = asyncio.get_running_loop()
        backoff = _BACKOFF
        while not (self._is_closed or self._is_fenced):
            if not await self._sleep_until_due():
                continue
            try:
                await self._send_pause()
                await self._fetch_slice()
            except Exception as error:  # noqa: BLE001 - a dead task would hold the run for ever
                self._note_failure(error)
                await self._sleep(backoff)
                backoff = min(2 * backoff, _LONGEST_BACKOFF)
            else:
                self._is_down, backoff = False, _BACKOFF

    async def _sleep_until_due(self) -> bool:
        """Sleep until a question to the database is due; return False after an earlier wake-up."""
        with self._lock:
            due_in = 0.0 if self._pause_until is not None else self._turns.fetch_delay(self._clock())
            self._is_asleep = due_in is None
        if due_in is not None and due_in <= 0:
            return True
        await self._sleep(due_in)
        self._is_asleep = False
        return False

    async def _sleep(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()
        except TimeoutError:
            pass
        self._wakeup.clear()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wakeup.set)

    async def _send_pause(self) -> None:
        until = self._pause_until
        if until is None:
            return
        left = timedelta(seconds=max(0.0, until - self._clock()))
        await self._query("SELECT orchestrator.pause_workspace(%s, %s, %s, %s, %s)", [*self._holder(), left])
        with self._lock:
            if self._pause_until == until:
                self._pause_until = None

    async def _fetch_slice(self) -> None:
        with self._lock:
            asked = self._clock()
            if self._turns.fetch_delay(asked) != 0:
                return
            turns, ahead = self._turns.begin_fetch(), timedelta(seconds=self._turns.ahead)
            self._asked_at = asked
        try:
            rows = await self._query(
                "SELECT * FROM orchestrator.take_turns(%s, %s, %s, %s, %s, %s)", [*self._holder(), turns, ahead]
            )
        except Exception:
            with self._lock:
                self._turns.fail_fetch()
            raise
        finally:
            self._asked_at = None
        if not rows:
            self._is_fenced = True
            return
        ((at, first, rate, burst, paused),) = rows
        with self._lock:
            self._turns.add_slice(Slice(first, turns, rate, burst), paused, asked, self._clock(), at)

    def _holder(self) -> tuple[object, ...]:
        return (self._workspace, *(self._fence or (None, None, None)))

    def _note_failure(self, error: Exception) -> None:
        """Note a failure; the writer of the log warns of a database that is down."""
        if not self._is_down and not isinstance(error, StoreDownError):
            self._problem = str(error)
        self._is_down = True

    def _retry_seconds(self, now: float) -> float:
        """Seconds until another attempt: few at first, and longer the longer the answer takes."""
        if self._is_down:
            return _LONGEST_RETRY
        asked_at = self._asked_at
        since = now - asked_at if asked_at is not None else 0.0
        return min(max(_RETRY, since / 2), _LONGEST_RETRY)
