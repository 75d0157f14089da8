"""Choice of the next target for ordered targets: the first target on a teepod with room. Pure."""

import heapq
from collections import Counter

from orchestrator.engine.job import Job


class OrderedQueue:
    """Queue of unsent targets in the order of their first `push`.

    A deferred target comes back to its own place. The interface is the same as of `StopQueue`.

    Attributes:
        per_teepod: the most requests under way on one teepod.
    """

    def __init__(self, per_teepod: int) -> None:
        self.per_teepod = per_teepod
        self._places: dict[str, int] = {}
        self._by_teepod: dict[str, list[tuple[int, Job]]] = {}
        self._heads: list[tuple[int, str]] = []
        """The first target of each teepod with room; outdated entries stay until `peek` removes them."""
        self._under_way: Counter[str] = Counter()
        self._later: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, work: Job) -> None:
        """Add a target at its place in the order; a new target goes to the end."""
        queue = self._by_teepod.setdefault(work.ref.teepod_key, [])
        heapq.heappush(queue, (self._place(work), work))
        if queue[0][1] is work:
            self._offer(work.ref.teepod_key)

    def defer(self, work: Job, until: float) -> None:
        """Put a target aside until this time, in seconds of the engine's clock."""
        heapq.heappush(self._later, (until, self._place(work), work))

    def peek(self, now: float) -> Job | None:
        """Return the first target on a teepod with room, or None."""
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
        while self._heads:
            place, teepod = self._heads[0]
            queue = self._by_teepod[teepod]
            if queue and queue[0][0] == place and self._under_way[teepod] < self.per_teepod:
                return queue[0][1]
            heapq.heappop(self._heads)
        return None

    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""
        work = self.peek(now)
        if work is not None:
            _, teepod = heapq.heappop(self._heads)
            heapq.heappop(self._by_teepod[teepod])
            self._under_way[teepod] += 1
            self._offer(teepod)
        return work

    def done(self, work: Job) -> None:
        """Count a target's request as answered, to make room on its teepod."""
        teepod = work.ref.teepod_key
        full = self._under_way[teepod] >= self.per_teepod
        self._under_way[teepod] -= 1
        if full:
            self._offer(teepod)

    def next_due(self) -> float:
        """Earliest due time of the deferred targets; infinity without deferred targets."""
        return self._later[0][0] if self._later else float("inf")

    def _place(self, work: Job) -> int:
        return self._places.setdefault(work.ref.key, len(self._places))

    def _offer(self, teepod: str) -> None:
        queue = self._by_teepod.get(teepod)
        if queue and self._under_way[teepod] < self.per_teepod:
            heapq.heappush(self._heads, (queue[0][0], teepod))
