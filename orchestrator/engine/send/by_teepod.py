"""Choice of the next target: a queue for each teepod, in turn, with a limit of requests per teepod. Pure."""

import heapq
from collections import Counter, deque
from itertools import count

from orchestrator.engine.job import Job


class StopQueue:
    """Queue of unsent targets; teepods take turns.

    Attributes:
        per_teepod: the most requests under way on one teepod.
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
        """Add a target to the end of its teepod's queue."""
        teepod = work.ref.teepod_key
        queue = self._by_teepod.setdefault(teepod, deque())
        queue.append(work)
        if len(queue) == 1 and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)

    def defer(self, work: Job, until: float) -> None:
        """Put a target aside until this time, in seconds of the engine's clock."""
        heapq.heappush(self._later, (until, next(self._order), work))

    def peek(self, now: float) -> Job | None:
        """Return the next target on a teepod with room, or None."""
        while self._later and self._later[0][0] <= now:
            self.push(heapq.heappop(self._later)[2])
        return self._by_teepod[self._turn[0]][0] if self._turn else None

    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""
        if self.peek(now) is None:
            return None
        teepod = self._turn.popleft()
        work = self._by_teepod[teepod].popleft()
        self._under_way[teepod] += 1
        self._take_turn(teepod)
        return work

    def done(self, work: Job) -> None:
        """Count a target's request as answered, to make room on its teepod."""
        teepod = work.ref.teepod_key
        full = self._under_way[teepod] >= self.per_teepod
        self._under_way[teepod] -= 1
        if full:
            self._take_turn(teepod)

    def next_due(self) -> float:
        """Earliest due time of the deferred targets; infinity without deferred targets."""
        return self._later[0][0] if self._later else float("inf")

    def _take_turn(self, teepod: str) -> None:
        if self._by_teepod.get(teepod) and self._under_way[teepod] < self.per_teepod:
            self._turn.append(teepod)
