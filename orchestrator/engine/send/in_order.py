"""Choice of the next target for ordered targets: the first target on a teepod with room. Pure."""

import heapq

from orchestrator.engine.job import Job
from orchestrator.engine.send.teepod_queue import TeepodQueue


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
