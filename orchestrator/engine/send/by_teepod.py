"""Choice of the next target: a queue for each teepod, in turn, with a limit of requests per teepod. Pure."""

from collections import deque
from itertools import count

from orchestrator.engine.job import Job
from orchestrator.engine.send.teepod_queue import TeepodQueue


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
