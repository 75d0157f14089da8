"""The gate that every request of a run goes through: rate limit, requests in flight, who goes first."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum

from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.protocols import Clock
from orchestrator.engine.rate.gcra import Gcra

LONG_PAUSE = 5.0
"""Seconds; a person hears of longer pauses, and is not kept waiting for their end after Ctrl-C."""
_TURN = 10
"""Of the requests that go while a read waits, at least one in this many is a read."""


class Lane(IntEnum):
    """What a request is for. Actions go before reads; probes are all that goes while the gate is closed."""

    ACT = 0
    READ = 1
    PROBE = 2


class Gate:
    """Lets requests through one by one: no faster than the limit, no more at a time than `max_in_flight`.

    Actions go before reads, but a read never waits for more than a fixed number of actions.

    Attributes:
        gcra: the rate limit.
        max_in_flight: how many requests may be under way.
        in_flight: requests that went through and were not answered yet.
        passed: how many requests went through.
        on_long_pause: called with the seconds of each pause that the API asked for and that is long.
    """

    def __init__(self, gcra: Gcra, max_in_flight: int, clock: Clock) -> None:
        self.gcra = gcra
        self.in_flight = 0
        self.passed = 0
        self.max_in_flight = max_in_flight
        self.on_long_pause: list[Callable[[float], None]] = []
        self._clock = clock
        self._lanes: dict[Lane, deque[AutoResetEvent]] = {lane: deque() for lane in Lane}
        self._since_read = 0
        self._closed = False

    def __repr__(self) -> str:
        waiting = {lane.name: len(queue) for lane, queue in self._lanes.items()}
        return f"<Gate in_flight={self.in_flight}/{self.max_in_flight} waiting={waiting} {self.gcra!r}>"

    async def enter(self, lane: Lane) -> None:
        """Wait for the turn of one request; `leave` has to follow once it is answered."""
        ticket = AutoResetEvent()
        queue = self._lanes[lane]
        queue.append(ticket)
        try:
            while True:
                wait = float("inf")
                if self.in_flight < self.max_in_flight and self._next() is ticket:
                    now = self._clock.now()
                    wait = self.gcra.wait(now)
                    if wait <= 0:
                        self._go(lane, now)
                        return
                await ticket.wait(wait)
        finally:
            if queue[0] is ticket:
                queue.popleft()
            else:
                queue.remove(ticket)
            self.wake()

    def enter_at_once(self, lane: Lane) -> bool:
        """Take a turn if it is there for the taking, and nobody of another lane is due."""
        due = self._next()
        if self.in_flight >= self.max_in_flight or self._closed or (due and due not in self._lanes[lane]):
            return False
        now = self._clock.now()
        if self.gcra.wait(now) > 0:
            return False
        self._go(lane, now)
        return True

    def leave(self) -> None:
        """Count one request as answered."""
        self.in_flight -= 1
        self.wake()

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """`enter` and `leave` around one request."""
        await self.enter(lane)
        try:
            yield
        finally:
            self.leave()

    def pause(self, seconds: float) -> None:
        """Let no request of the run go for so long: the API asked for it."""
        is_new = seconds - self.paused_for >= LONG_PAUSE
        self.gcra.pause(self._clock.now() + seconds)
        self.wake()
        if is_new:
            for called in self.on_long_pause:
                called(seconds)

    @property
    def paused_for(self) -> float:
        """Seconds for which nothing goes yet, since the API asked for it."""
        return max(0.0, self.gcra.paused_until - self._clock.now())

    @contextmanager
    def held_to(self, max_in_flight: int, rate: float | None, adaptive: bool) -> Iterator[None]:  # noqa: FBT001
        """Other limits for as long as the block lasts.

        Args:
            max_in_flight: how many requests may be under way.
            rate: requests per second; None for the run's.
            adaptive: whether the run finds out its rate, so that this one is only the most it may be.
        """
        was, was_rate = self.max_in_flight, self.gcra.rate
        self.max_in_flight = max_in_flight
        if rate is not None and adaptive:
            self.gcra.cap = rate
        elif rate is not None:
            self.gcra.rate = rate
        try:
            yield
        finally:
            self.max_in_flight, self.gcra.cap = was, float("inf")
            if rate is not None and not adaptive:
                self.gcra.rate = was_rate

    def close(self) -> None:
        """Let nothing but probes go until `open`."""
        self._closed = True
        self.wake()

    def open(self) -> None:
        """Let requests go again."""
        self._closed = False
        self.wake()

    def _next(self) -> AutoResetEvent | None:
        """The ticket whose turn it is; None when nobody may go."""
        acts, reads, probes = self._lanes.values()
        if probes or self._closed:
            return probes[0] if probes else None
        if reads and (not acts or self._since_read >= _TURN - 1):
            return reads[0]
        return acts[0] if acts else None

    def _go(self, lane: Lane, now: float) -> None:
        self.gcra.take(now)
        self.in_flight += 1
        self.passed += 1
        self._since_read = self._since_read + 1 if lane is Lane.ACT else 0

    def wake(self) -> None:
        """Let whoever is next look again: the others need not know, however many wait."""
        ticket = self._next()
        if ticket is not None:
            ticket.ring()
