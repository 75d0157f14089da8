"""Counters of a queue of unsent targets: requests under way by teepod, and deferred targets. Pure."""

import heapq
from abc import ABC, abstractmethod
from collections import Counter

from orchestrator.engine.job import Job


class TeepodQueue(ABC):
    """Queue of unsent targets with a limit of requests per teepod; subclasses choose the next target.

    Attributes:
        per_teepod: the most requests under way on one teepod.
    """

    def __init__(self, per_teepod: int) -> None:
        self.per_teepod = per_teepod
        self._under_way: Counter[str] = Counter()  # requests without an answer, by teepod
        self._later: list[tuple[float, int, Job]] = []  # a heap of deferred targets, by due time and place

    @abstractmethod
    def push(self, job: Job) -> None:
        """Add a target."""

    @abstractmethod
    def peek(self, now: float) -> Job | None:
        """Return the next target on a teepod with room, or None."""

    @abstractmethod
    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""

    @abstractmethod
    def _place_of(self, job: Job) -> int:
        """Return the place of a deferred target among targets with the same due time."""

    @abstractmethod
    def _offer_teepod(self, teepod: str) -> None:
        """Offer the next target of a teepod, if the teepod has room."""

    def defer_job(self, job: Job, until: float) -> None:
        """Put a target aside until this time, in seconds of the engine's clock."""
        heapq.heappush(self._later, (until, self._place_of(job), job))

    def count_answer(self, job: Job) -> None:
        """Count a target's request as answered, to make room on its teepod."""
        teepod = job.ref.teepod_key
        full = self._under_way[teepod] >= self.per_teepod
        self._under_way[teepod] -= 1
        if full:
            self._offer_teepod(teepod)

    def next_due(self) -> float:
        """Earliest due time of the deferred targets; infinity without deferred targets."""
        return self._later[0][0] if self._later else float("inf")

    def _push_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
