"""Who is sent next where the targets have an order: the first of them whose teepod has room. Pure."""

import heapq
from collections import Counter

from orchestrator.engine.job import Job


class OrderedQueue:
    """Targets that wait for their request to be sent, in the order in which they were pushed first.

    One that was put aside comes back to its own place. It is used as a `StopQueue` is.

    Attributes:
        per_teepod: how many requests may be under way on one teepod.
    """

    def __init__(self, per_teepod: int) -> None:
        self.per_teepod = per_teepod
        self._places: dict[str, int] = {}
        self._by_teepod: dict[str, list[tuple[int, Job]]] = {}
        self._heads: list[tuple[int, str]] = []
        """The first of each teepod that has room; entries that were overtaken stay until they come up."""
        self._under_way: Counter[str] = Counter()
        self._later: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, work: Job) -> None:
        """Put a target into its place, which is the last one when it has none yet."""
        queue = self._by_teepod.setdefault(work.ref.teepod_key, [])
        heapq.heappush(queue, (self._place(work), work))
        if queue[0][1] is work:
            self._offer(work.ref.teepod_key)

    def defer(self, work: Job, until: float) -> None:
        """Put a target aside until this time."""
        heapq.heappush(self._later, (until, self._place(work), work))

    def peek(self, now: float) -> Job | None:
        """The first target whose teepod has room; None when there is none."""
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
        """Take the target that `peek` gives; it is under way from now on."""
        work = self.peek(now)
        if work is not None:
            _, teepod = heapq.heappop(self._heads)
            heapq.heappop(self._by_teepod[teepod])
            self._under_way[teepod] += 1
            self._offer(teepod)
        return work

    def done(self, work: Job) -> None:
        """Count a target's request as answered, which makes room on its teepod."""
        teepod = work.ref.teepod_key
        full = self._under_way[teepod] >= self.per_teepod
        self._under_way[teepod] -= 1
        if full:
            self._offer(teepod)

    def next_due(self) -> float:
        """When the first of those put aside is due; infinity when there is none."""
        return self._later[0][0] if self._later else float("inf")

    def _place(self, work: Job) -> int:
        return self._places.setdefault(work.ref.key, len(self._places))

    def _offer(self, teepod: str) -> None:
        queue = self._by_teepod.get(teepod)
        if queue and self._under_way[teepod] < self.per_teepod:
            heapq.heappush(self._heads, (queue[0][0], teepod))
