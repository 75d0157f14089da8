"""Model servers with a rate limit, and a run's sending against them: a plain loop on virtual time."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Protocol

from orchestrator.engine.rate.adaptive import AdaptiveRate, KnownRate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.reply import Reply

WARM_UP = 10.0
"""Seconds that a run has to find the limit out."""


class Server(Protocol):
    """A rate limit."""

    rate: float

    def wait(self, now: float) -> float:
        """0 for a request that is let through; else the seconds until one would be."""
        ...


class TokenBucket:
    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at = float(burst), 0.0

    def wait(self, now: float) -> float:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0


class FixedWindow:
    """So many in each window, which begin at fixed times."""

    def __init__(self, most: int, seconds: float) -> None:
        self.rate = most / seconds
        self._most, self._seconds = most, seconds
        self._window, self._count = -1.0, 0

    def wait(self, now: float) -> float:
        window = now // self._seconds
        if window != self._window:
            self._window, self._count = window, 0
        if self._count < self._most:
            self._count += 1
            return 0.0
        return (window + 1) * self._seconds - now


class SlidingWindow:
    """So many in any window."""

    def __init__(self, most: int, seconds: float) -> None:
        self.rate = most / seconds
        self._most, self._seconds = most, seconds
        self._passed: list[float] = []

    def wait(self, now: float) -> float:
        self._passed = [at for at in self._passed if now - at < self._seconds]
        if len(self._passed) < self._most:
            self._passed.append(now)
            return 0.0
        return self._passed[0] + self._seconds - now


@dataclass(frozen=True)
class Sent:
    """What a run has sent.

    Attributes:
        requests: when each arrived, and whether it was let through.
        finder: what found the rate.
        seconds: how long it lasted.
        limit: requests per second that the server allowed in the end.
    """

    requests: list[tuple[float, bool]]
    finder: AdaptiveRate
    seconds: float
    limit: float

    @property
    def refused(self) -> float:
        """The share of the requests that were refused."""
        return sum(not passed for _, passed in self.requests) / len(self.requests)

    def used(self, begin: float = WARM_UP, end: float | None = None) -> float:
        """The share of the server's limit that was used from one moment to another."""
        end = self.seconds if end is None else end
        passed = sum(passed for at, passed in self.requests if begin < at <= end)
        return passed / (end - begin) / self.limit


def send(
    server: Server,
    *,
    seconds: float,
    seed: int = 1,
    latency: tuple[float, float] = (0.002, 0.02),
    max_in_flight: int = 20,
    retry_after: bool = True,
    known: KnownRate | None = None,
    change: Callable[[float], None] = lambda _now: None,
) -> Sent:
    """Send as fast as the finder and the gate's arithmetic let it.

    Args:
        server: what answers.
        seconds: for how long.
        seed: of the jitter.
        latency: the least and the most seconds that an answer takes.
        max_in_flight: requests sent and not yet answered.
        retry_after: whether a 429 says how long to wait, in whole seconds.
        known: what an earlier run learnt.
        change: told the time of each request, to change the server.
    """
    rng, now, number = Random(seed), 0.0, 0
    finder = AdaptiveRate(3, now=now, known=known)
    gate = Gcra(finder.rate, finder.burst)
    requests: list[tuple[float, bool]] = []
    due: list[tuple[float, int, float, float | None]] = []  # when, number, latency, the wait: None before arriving
    in_flight = 0
    while now < seconds:
        gate.rate, gate.burst = finder.send_rate, finder.burst
        wait = gate.wait_seconds(now) if in_flight < max_in_flight else float("inf")
        number += 1
        if wait <= 0:
            change(now)
            gate.count_request(now)
            in_flight += 1
            took = rng.uniform(*latency)
            heapq.heappush(due, (now + took / 2, number, took, None))
            continue
        awake = now + wait + rng.uniform(0, 0.002)  # no clock wakes in time
        if not due or awake < due[0][0]:
            now = awake
            continue
        now, _, took, told = heapq.heappop(due)
        if told is None:
            told = server.wait(now)
            requests.append((now, told <= 0))
            heapq.heappush(due, (now + took / 2, number, took, told))
            continue
        in_flight -= 1
        if told <= 0:
            finder.on_reply(Reply(value=(), http_status=200, latency=took), now)
            continue
        pause = float(max(1, ceil(told))) if retry_after else None
        finder.on_reply(Reply(http_status=429, latency=took, retry_after=pause), now)
        gate.pause(rng.uniform(0.75, 1.25) if pause is None else pause * rng.uniform(1, 1.1), now)
    return Sent(requests, finder, now, server.rate)
