"""Queues of unsent targets by teepod: the choice of the next target, requests under way, deferred targets. Pure.

Teepods take turns, unless the targets have an order. Each teepod has a limit of requests under way.
"""

import heapq
from abc import ABC, abstractmethod
from collections import Counter, deque
from itertools import count

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


class StopQueue(TeepodQueue):
    """Queue of unsent targets; teepods take turns."""

    def __init__(self, per_teepod: int) -> None:
        super().__init__(per_teepod)
        self._by_teepod: dict[str, deque[Job]] = {}
        self._turn: deque[str] = deque()
        self._order = count()

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, job: Job) -> None:
        """Add a target to the end of its teepod's queue."""
        teepod = job.ref.teepod_key
        queue = self._by_teepod.setdefault(teepod, deque())
        queue.append(job)
        if len(queue) == 1 and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)

    def peek(self, now: float) -> Job | None:
        """Return the next target on a teepod with room, or None."""
        self._push_due(now)
        return self._by_teepod[self._turn[0]][0] if self._turn else None

    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""
        if self.peek(now) is None:
            return None
        teepod = self._turn.popleft()
        job = self._by_teepod[teepod].popleft()
        self._under_way[teepod] += 1
        self._offer_teepod(teepod)
        return job

    def _offer_teepod(self, teepod: str) -> None:
        if self._by_teepod.get(teepod) and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)

    def _place_of(self, job: Job) -> int:  # noqa: ARG002 - the order of deferral, not of the targets
        return next(self._order)


class OrderedQueue(TeepodQueue):
    """Queue of unsent targets in the order of their first `push`.

    A deferred target comes back to its own place.
    """

    def __init__(self, per_teepod: int) -> None:
        super().__init__(per_teepod)
        self._places: dict[str, int] = {}
        self._by_teepod: dict[str, list[tuple[int, Job]]] = {}
        self._heads: list[tuple[int, str]] = []
        """The first target of each teepod with room; outdated entries stay until `peek` removes them."""

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, job: Job) -> None:
        """Add a target at its place in the order; a new target goes to the end."""
        queue = self._by_teepod.setdefault(job.ref.teepod_key, [])
        heapq.heappush(queue, (self._place_of(job), job))
        if queue[0][1] is job:
            self._offer_teepod(job.ref.teepod_key)

    def peek(self, now: float) -> Job | None:
        """Return the first target on a teepod with room, or None."""
        self._push_due(now)
        while self._heads:
            place, teepod = self._heads[0]
            queue = self._by_teepod[teepod]
            if queue and queue[0][0] == place and self._under_way[teepod] < self.per_teepod:
                return queue[0][1]
            heapq.heappop(self._heads)
        return None

    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""
        job = self.peek(now)
        if job is not None:
            _, teepod = heapq.heappop(self._heads)
            heapq.heappop(self._by_teepod[teepod])
            self._under_way[teepod] += 1
            self._offer_teepod(teepod)
        return job

    def _place_of(self, job: Job) -> int:
        return self._places.setdefault(job.ref.key, len(self._places))

    def _offer_teepod(self, teepod: str) -> None:
        queue = self._by_teepod.get(teepod)
        if queue and self._under_way[teepod] < self.per_teepod:
            heapq.heappush(self._heads, (queue[0][0], teepod))
