"""Gate for every request of a run: rate limit, limit of requests in flight, and priorities."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum

from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.protocols import Clock
from orchestrator.engine.rate.budget import Budget

LONG_PAUSE = 5.0
"""Seconds; longer pauses are reported to the user, and Ctrl-C does not wait for the end of such a pause."""
_TURN = 10
"""While reads wait, at least one of this many requests is a read."""


class Priority(IntEnum):
    """Priority of a request: actions go before reads; only probes go while the gate is closed."""

    ACT = 0
    READ = 1
    PROBE = 2


class Gate:
    """Admits requests within the rate limit, with at most `max_in_flight` requests in flight.

    Actions go before reads, but a read waits for a fixed number of actions at most.

    Attributes:
        budget: the rate limit.
        max_in_flight: the most requests in flight.
        in_flight: the number of admitted requests without an answer yet.
        passed: the number of admitted requests.
        on_long_pause: callbacks, called with the seconds of every long pause requested by the API.
    """

    def __init__(self, budget: Budget, max_in_flight: int, clock: Clock) -> None:
        self.budget = budget
        self.in_flight = 0
        self.passed = 0
        self.max_in_flight = max_in_flight
        self.on_long_pause: list[Callable[[float], None]] = []
        self._clock = clock
        self._tickets: dict[Priority, deque[AutoResetEvent]] = {priority: deque() for priority in Priority}
        self._since_read = 0
        self._closed = False
        self._paused_until = float("-inf")

    def __repr__(self) -> str:
        waiting = {priority.name: len(queue) for priority, queue in self._tickets.items()}
        return f"<Gate in_flight={self.in_flight}/{self.max_in_flight} waiting={waiting} {self.budget!r}>"

    async def enter(self, priority: Priority) -> None:
        """Wait for the turn of a request; call `leave` after the answer."""
        ticket = AutoResetEvent()
        queue = self._tickets[priority]
        queue.append(ticket)
        try:
            while True:
                wait = float("inf")
                if self.in_flight < self.max_in_flight and self._next_ticket() is ticket:
                    now = self._clock.now()
                    wait = self.budget.take_turn(now)
                    if wait <= 0:
                        self._admit(priority)
                        return
                    self._report_pause(now)
                await ticket.wait(wait)
        finally:
            if queue[0] is ticket:
                queue.popleft()
            else:
                queue.remove(ticket)
            self.wake_next()

    def try_enter(self, priority: Priority) -> bool:
        """Enter without a wait if the limits allow and no request of another lane is due; return True if entered."""
        due = self._next_ticket()
        if self.in_flight >= self.max_in_flight or self._closed or (due and due not in self._tickets[priority]):
            return False
        if self.budget.take_turn(self._clock.now()) > 0:
            return False
        self._admit(priority)
        return True

    def leave(self) -> None:
        """Count a request as answered."""
        self.in_flight -= 1
        self.wake_next()

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Call `enter` and `leave` around a request."""
        await self.enter(priority)
        try:
            yield
        finally:
            self.leave()

    def pause(self, seconds: float) -> None:
        """Pause all requests of the run for some seconds, at the request of the API."""
        now = self._clock.now()
        self.budget.pause(seconds, now)
        self.wake_next()
        self._report_pause(now)

    @property
    def paused_for(self) -> float:
        """Remaining seconds of the pause requested by the API; 0 without a pause."""
        return self.budget.paused_for(self._clock.now())

    @contextmanager
    def limited_to(self, max_in_flight: int, rate: float | None, adaptive: bool) -> Iterator[None]:  # noqa: FBT001
        """Apply other limits inside the block.

        Args:
            max_in_flight: the most requests in flight.
            rate: requests per second; None for the rate of the run.
            adaptive: whether the run's rate is adaptive; `rate` is then only an upper limit.
        """
        was, was_rate = self.max_in_flight, self.budget.rate
        self.max_in_flight = max_in_flight
        if rate is not None and adaptive:
            self.budget.cap = rate
        elif rate is not None:
            self.budget.rate = rate
        try:
            yield
        finally:
            self.max_in_flight, self.budget.cap = was, float("inf")
            if rate is not None and not adaptive:
                self.budget.rate = was_rate

    def close(self) -> None:
        """Hold all requests except probes until `open`."""
        self._closed = True
        self.wake_next()

    def open(self) -> None:
        """Admit requests again."""
        self._closed = False
        self.wake_next()

    def _next_ticket(self) -> AutoResetEvent | None:
        """Find the next ticket; None if no request may go."""
        acts, reads, probes = self._tickets.values()
        if probes or self._closed:
            return probes[0] if probes else None
        if reads and (not acts or self._since_read >= _TURN - 1):
            return reads[0]
        return acts[0] if acts else None

    def _report_pause(self, now: float) -> None:
        """Report a new long pause, also a pause requested from another run with the same budget."""
        seconds = self.budget.paused_for(now)
        longer_by = now + seconds - max(now, self._paused_until)
        self._paused_until = max(self._paused_until, now + seconds)
        if longer_by >= LONG_PAUSE:
            for called in self.on_long_pause:
                called(seconds)

    def _admit(self, priority: Priority) -> None:
        self.in_flight += 1
        self.passed += 1
        self._since_read = self._since_read + 1 if priority is Priority.ACT else 0

    def wake_next(self) -> None:
        """Wake the next waiting request only; the other waiting requests sleep on."""
        ticket = self._next_ticket()
        if ticket is not None:
            ticket.set()
