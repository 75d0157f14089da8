"""Delivering notices to one recipient, in a task of its own: in order, bounded, again where that may help.

Nobody waits for a courier but `finish`, and that no longer than it is told. Whatever goes wrong is a warning.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from random import Random
from typing import Protocol

import anyio

from orchestrator.engine.event import AutoResetEvent
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import Answer, wait_after

_MOST_WAITING = 100
"""Notices; when more wait, the oldest is given up for the newest."""


class Post(Protocol):
    """The way to one recipient."""

    async def __call__(self, notice: Notice) -> Answer:
        """Try to deliver a notice once, within a bounded time; does not raise."""
        ...


class Warn(Protocol):
    """Where warnings go."""

    def __call__(self, event: str, **facts: object) -> None:
        """Log one."""
        ...


class DeliveryWorker:
    """Delivers notices to one recipient.

    Attributes:
        name: what the recipient is called in warnings: never its URL, which is a secret.
    """

    def __init__(
        self,
        name: str,
        post: Post,
        *,
        retry_for: float,
        now: Callable[[], float],
        rng: Random,
        warn: Warn,
    ) -> None:
        """Set up.

        Args:
            name: what the recipient is called in warnings.
            post: the way to it.
            retry_for: seconds after which a notice that was tried is given up.
            now: a clock by which seconds pass as the event loop sleeps them.
            rng: the jitter.
            warn: where warnings go.
        """
        self.name = name
        self._post, self._retry_for, self._now, self._rng, self._warn = post, retry_for, now, rng, warn
        self._waiting: deque[Notice] = deque()
        self._bell = AutoResetEvent()
        self._not_before = 0.0
        self._until = inf
        self._done = anyio.Event()

    def take(self, notice: Notice) -> None:
        """Accept a notice for delivery. Returns at once."""
        if len(self._waiting) >= _MOST_WAITING:
            self._give_up(self._waiting.popleft(), "too many notices wait for this recipient")
        self._waiting.append(notice)
        self._bell.ring()

    async def run(self) -> None:
        """Deliver until `finish` is called and nothing is left."""
        while self._waiting or self._until == inf:
            if not self._waiting:
                await self._bell.wait()
                continue
            notice = self._waiting[0]
            try:
                problem = await self._deliver(notice)
            except Exception as error:  # noqa: BLE001 - a bug in here is not worth the run that is told of
                problem = f"a bug: {type(error).__name__}"
            if problem:
                self._give_up(notice, problem)
            if self._waiting and self._waiting[0] is notice:
                self._waiting.popleft()
        self._done.set()

    async def finish(self, within: float) -> None:
        """Return when all was delivered or given up, or after so many seconds."""
        self._until = self._now() + within
        self._bell.ring()
        with anyio.move_on_after(within):
            await self._done.wait()

    def leave(self) -> None:
        """Warn of what was not delivered; to be called when `run` has ended or was cancelled."""
        if self._waiting:
            events = " ".join(notice.event for notice in self._waiting)
            self._warn("notice.undelivered", to=self.name, notices=events, reason="the run was over before")
            self._waiting.clear()

    async def _deliver(self, notice: Notice) -> str:
        """Try until it is taken or given up; the reason in words where it is given up."""
        began, attempt, problem = self._now(), 0, "the recipient asked to wait for longer than that"
        wait, asked_for = max(0.0, self._not_before - began), True
        while True:
            if self._now() - began + wait > self._retry_for or not await self._pause(wait, asked_for=asked_for):
                return problem
            answer = await self._post(notice)
            if answer.taken:
                return ""
            attempt = attempt + 1 if self._until == inf else 1  # short waits for the little time that is left
            next_wait = wait_after(answer, attempt, self._rng.random())
            if next_wait is None:
                return answer.problem
            wait, asked_for, problem = next_wait, answer.retry_after is not None, answer.problem
            if asked_for:
                self._not_before = self._now() + wait

    async def _pause(self, seconds: float, *, asked_for: bool) -> bool:
        """Wait; whether there is any use in another attempt. The end of the run cuts short what nobody asked for."""
        end = self._now() + seconds
        hurried = self._until == inf and not asked_for
        while (left := end - self._now()) > 0:
            if self._until < inf and (hurried or end > self._until):
                return hurried
            await self._bell.wait(left)
        return True

    def _give_up(self, notice: Notice, reason: str) -> None:
        self._warn("notice.undelivered", to=self.name, notices=notice.event, reason=reason)
