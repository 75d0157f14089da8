"""Deliver notices to a channel in a separate task: in order, with retries and time limits.

Only `finish_delivery` waits for a worker, for a limited time. Every problem becomes a warning.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Protocol

import anyio

from orchestrator.engine.event import AutoResetEvent
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import DeliveryResult, retry_delay

_MOST_WAITING = 100
"""Notices in the queue; above this, the oldest notice is dropped."""


class Transport(Protocol):
    """The HTTP transport to a channel."""

    async def __call__(self, notice: Notice) -> DeliveryResult:
        """Try to deliver a notice once, within a bounded time; never raise."""
        ...


class Warn(Protocol):
    """A logger of warnings."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Log a warning."""
        ...


class DeliveryWorker:
    """Delivers notices to a channel.

    Attributes:
        name: the channel's name in warnings. Never the URL: the URL is a secret.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        retry_for: float,
        now: Callable[[], float],
        rng: Random,
        warn: Warn,
    ) -> None:
        """Set up.

        Args:
            name: the channel's name in warnings.
            transport: the transport to the channel.
            retry_for: seconds of attempts before a notice is dropped.
            now: the event loop's clock, in seconds.
            rng: random numbers for the jitter.
            warn: the logger of warnings.
        """
        self.name = name
        self._transport, self._retry_for, self._now, self._rng, self._warn = transport, retry_for, now, rng, warn
        self._queue: deque[Notice] = deque()  # the first one is being delivered
        self._wake = AutoResetEvent()
        self._not_before = 0.0  # end of the wait demanded by the last Retry-After
        self._until = inf  # end of delivery; set by `finish_delivery`
        self._done = anyio.Event()

    def queue_notice(self, notice: Notice) -> None:
        """Queue a notice for delivery; return at once."""
        if len(self._queue) >= _MOST_WAITING:
            self._drop_notice(self._queue.popleft(), "too many notices wait for this recipient")
        self._queue.append(notice)
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `finish_delivery` is called and the queue is empty."""
        while self._queue or self._until == inf:
            if not self._queue:
                await self._wake.wait()
                continue
            notice = self._queue[0]
            try:
                problem = await self._deliver_notice(notice)
            except Exception as error:  # noqa: BLE001 - an error in delivery must not end the run
                problem = f"internal error: {type(error).__name__}"
            if problem:
                self._drop_notice(notice, problem)
            if self._queue and self._queue[0] is notice:
                self._queue.popleft()
        self._done.set()

    async def finish_delivery(self, within: float) -> None:
        """Wait until every notice is delivered or dropped, for `within` seconds at most."""
        self._until = self._now() + within
        self._wake.set()
        with anyio.move_on_after(within):
            await self._done.wait()

    def report_undelivered(self) -> None:
        """Warn of undelivered notices; call after `run` has ended or was cancelled."""
        if self._queue:
            events = " ".join(notice.event for notice in self._queue)
            self._warn("notice.undelivered", to=self.name, notices=events, reason="the run ended before delivery")
            self._queue.clear()

    async def _deliver_notice(self, notice: Notice) -> str:
        """Try until the notice is delivered or dropped; return the reason for a drop, or an empty text."""
        began, attempt, problem = self._now(), 0, "the recipient asked for a longer wait"
        wait, demanded = max(0.0, self._not_before - began), True
        while True:
            is_too_late = self._now() - began + wait > self._retry_for
            if is_too_late or not await self._wait_for_retry(wait, demanded=demanded):
                return problem
            result = await self._transport(notice)
            if result.is_accepted:
                return ""
            attempt = attempt + 1 if self._until == inf else 1  # short waits after the run's end
            next_wait = retry_delay(result, attempt, self._rng.random())
            if next_wait is None:
                return result.problem
            wait, demanded, problem = next_wait, result.retry_after is not None, result.problem
            if demanded:
                self._not_before = self._now() + wait

    async def _wait_for_retry(self, seconds: float, *, demanded: bool) -> bool:
        """Wait for the next attempt; return False if the run ends before a useful attempt."""
        end = self._now() + seconds
        is_cut_short = self._until == inf and not demanded  # the run's end cuts a backoff short, not a Retry-After
        while (left := end - self._now()) > 0:
            if self._until < inf and (is_cut_short or end > self._until):
                return is_cut_short
            await self._wake.wait(left)
        return True

    def _drop_notice(self, notice: Notice, reason: str) -> None:
        self._warn("notice.undelivered", to=self.name, notices=notice.event, reason=reason)
