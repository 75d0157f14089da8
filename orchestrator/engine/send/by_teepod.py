"""Who is sent next: a queue per teepod, taken in turn, so that no teepod gets more than its share at a time. Pure."""

import heapq
from collections import Counter, deque
from itertools import count

from orchestrator.engine.job import Job


class StopQueue:
    """Targets that wait for their request to be sent.

    Attributes:
        per_teepod: how many requests may be under way on one teepod.
    """

    def __init__(self, per_teepod: int) -> None:
        self.per_teepod = per_teepod
        self._by_teepod: dict[str, deque[Job]] = {}
        self._turn: deque[str] = deque()
        self._under_way: Counter[str] = Counter()
        self._later: list[tuple[float, int, Job]] = []
        self._order = count()

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, work: Job) -> None:
        """Put a target at the end of its teepod's queue."""
        teepod = work.ref.teepod_key
        queue = self._by_teepod.setdefault(teepod, deque())
        queue.append(work)
        if len(queue) == 1 and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)

    def defer(self, work: Job, until: float) -> None:
        """Put a target aside until this time."""
        heapq.heappush(self._later, (until, next(self._order), work))

    def peek(self, now: float) -> Job | None:
        """The next target whose teepod has room; None when there is none."""
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
        return self._by_teepod[self._turn[0]][0] if self._turn else None

    def pop(self, now: float) -> Job | None:
        """Take the target that `peek` gives; it is under way from now on."""
        if self.peek(now) is None:
            return None
        teepod = self._turn.popleft()
        work = self._by_teepod[teepod].popleft()
        self._under_way[teepod] += 1
        self._take_turn(teepod)
        return work

    def done(self, work: Job) -> None:
        """Count a target's request as answered, which makes room on its teepod."""
        teepod = work.ref.teepod_key
        full = self._under_way[teepod] >= self.per_teepod
        self._under_way[teepod] -= 1
        if full:
            self._take_turn(teepod)

    def next_due(self) -> float:
        """When the first of those put aside is due; infinity when there is none."""
        return self._later[0][0] if self._later else float("inf")

    def _take_turn(self, teepod: str) -> None:
        if self._by_teepod.get(teepod) and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)
