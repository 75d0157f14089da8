"""Send queue: choose the targets of the next request, defer targets, and give targets up.

Teepods take turns, unless the targets have an order. Each teepod has a limit of requests under way.
"""

import heapq
from abc import ABC, abstractmethod
from collections import Counter, deque
from itertools import count
from typing import Protocol

from orchestrator.engine.context import RunContext
from orchestrator.engine.job import Job
from orchestrator.engine.send.classify import PATIENCE_ATTEMPTS, backoff_seconds
from orchestrator.outcome import Outcome
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, PlannedStep, RunLimits
from orchestrator.reply import Reply

_REFUSALS_IN_A_ROW = 2
"""Refused batches in a row after which no more batches are sent."""


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
        """Return the next target on a teepod below its limit, or None."""

    @abstractmethod
    def pop(self, now: float) -> Job | None:
        """Remove and return the target found by `peek`, and count its request as under way."""

    @abstractmethod
    def _place_of(self, job: Job) -> int:
        """Return the place of a deferred target among targets with the same due time."""

    @abstractmethod
    def _offer_teepod(self, teepod: str) -> None:
        """Offer the next target of a teepod, if the teepod is below its limit."""

    def defer_job(self, job: Job, until: float) -> None:
        """Put a target aside until this time, in seconds of the engine's clock."""
        heapq.heappush(self._later, (until, self._place_of(job), job))

    def count_answer(self, job: Job) -> None:
        """Count a target's request as answered, to let the next target of the teepod go."""
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
        """Return the next target on a teepod below its limit, or None."""
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
        """The first target of each teepod below its limit; outdated entries stay until `peek` removes them."""

    def __len__(self) -> int:
        return sum(map(len, self._by_teepod.values())) + len(self._later)

    def push(self, job: Job) -> None:
        """Add a target at its place in the order; a new target goes to the end."""
        queue = self._by_teepod.setdefault(job.ref.teepod_key, [])
        heapq.heappush(queue, (self._place_of(job), job))
        if queue[0][1] is job:
            self._offer_teepod(job.ref.teepod_key)

    def peek(self, now: float) -> Job | None:
        """Return the first target on a teepod below its limit, or None."""
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


class SendQueueObserver(Protocol):
    """Receiver of targets ended or overdue in the send queue."""

    def on_failed(self) -> None:
        """React to a target ended with another outcome than wanted."""
        ...

    def on_overdue(self, job: Job) -> None:
        """React to a shutdown not accepted in time: the CVM's status decides about the next request."""
        ...

    def on_all_sent(self) -> None:
        """React to the last request."""
        ...


class SendQueue:
    """Targets without an accepted request and without an outcome.

    Attributes:
        unsent: the number of these targets, including requests under way and requests of unknown effect.
        possible_stops: the number of watched shutdowns that may still need a stop.
        at_once: the most stops in one request.
    """

    def __init__(self, context: RunContext, step: PlannedStep, limits: RunLimits, observer: SendQueueObserver) -> None:
        """Set up.

        Args:
            context: the shared parts of the run.
            step: the step; ordered targets go in the order of adding, otherwise teepods take turns.
            limits: limits on concurrency, and the way of dispatch.
            observer: receives targets ended or overdue in this queue.
        """
        self.unsent = 0
        self.possible_stops = 0
        in_batches = limits.dispatch == "batch" and step.action.spec.is_batchable
        self.at_once = MOST_AT_ONCE if in_batches else 1
        self._ledger, self._clock, self._observer = context.ledger, context.clock, observer
        self._queue = (StopQueue if step.order_by is None else OrderedQueue)(limits.per_teepod)
        self._patience = step.settle_timeout  # seconds; a target deferred for a longer time is given up
        self._escalate_after = step.escalate_after
        self._refusals = 0  # refused batches in a row

    @property
    def is_done(self) -> bool:
        """Whether no request is left to send, and no shutdown can still need a stop."""
        return not self.unsent and not self.possible_stops

    def add_job(self, job: Job) -> None:
        """Add a target to send."""
        self.unsent += 1
        self._queue.push(job)

    def add_watched(self) -> None:
        """Count a watched target, sent earlier with unknown effect."""
        self.unsent += 1

    def next_request(self) -> list[Job]:
        """Remove and return the targets of the next request; an empty list if no request is due."""
        jobs: list[Job] = []
        now = self._clock.now()
        while len(jobs) < self.at_once:
            job = self._queue.peek(now)
            if job is None or (jobs and job.needs_own_request):
                break
            self._queue.pop(now)
            if now >= self._last_moment(job):
                self._queue.count_answer(job)
                self._observer.on_overdue(job)
                continue
            jobs.append(job)
            if job.needs_own_request:
                break
        return jobs

    def next_due(self) -> float:
        """Earliest due time of the deferred targets; infinity without deferred targets."""
        return self._queue.next_due()

    def count_answer(self, job: Job) -> None:
        """Count a target's request as answered, to let the next target of the teepod go."""
        self._queue.count_answer(job)

    def count_resolved(self) -> None:
        """Count a target as accepted or ended, so no longer to be sent."""
        self.unsent -= 1
        if not self.unsent:
            self._observer.on_all_sent()

    def add_possible_stop(self) -> None:
        """Count a watched shutdown with a possible stop."""
        self.possible_stops += 1

    def remove_possible_stop(self) -> None:
        """Count the end of such a watch: the target has an outcome, or is back in this queue."""
        self.possible_stops -= 1

    def defer_job(self, job: Job, wait: float, reason: str, reply: Reply[object]) -> None:
        """Put a target aside for some seconds, or give the target up."""
        if not self._give_up_if_late(job, reason, reply):
            self._put_aside(job, wait)

    def put_back(self, job: Job, wait: float) -> None:
        """Delay a target for some seconds after an unsent request; never give the target up."""
        self._put_aside(job, wait)

    def requeue(self, job: Job) -> None:
        """Queue a target again after a request without effect, or end the target."""
        if job.withheld is not None:
            self._ledger.end_withheld(job, job.withheld)
            self.unsent -= 1
            return
        last = f"; the last of them: {job.trouble}" if job.trouble else ""
        reason = f"the API's answers left the effect of the {job.action} unknown, and it had no effect{last}"
        if self._give_up_if_late(job, reason):
            return
        if job.action.spec.is_instant:
            self._queue.push(job)
        else:
            # A start without a free GPU has the same replies, perhaps for a long time.
            self._put_aside(job, backoff_seconds(job.attempts, 0.5))

    def end_job(self, job: Job, outcome: Outcome, reason: str, reply: Reply[object] | None = None) -> None:
        """End a target without an accepted request."""
        self._ledger.record_outcome(job, outcome, reason, reply)
        self.count_resolved()
        if outcome is not Outcome.GONE:
            self._observer.on_failed()

    def count_batch(self, *, accepted: bool) -> None:
        """Count an accepted or refused batch; after a few refusals in a row, send no more batches."""
        self._refusals = 0 if accepted else self._refusals + 1
        if self._refusals >= _REFUSALS_IN_A_ROW:
            self.at_once = 1

    def _put_aside(self, job: Job, wait: float) -> None:
        self._queue.defer_job(job, min(self._clock.now() + wait, self._last_moment(job)))

    def _last_moment(self, job: Job) -> float:
        """Time of the last attempt for an unaccepted shutdown; infinity if no stop would follow."""
        if self._escalate_after is None or not job.can_escalate or job.announced_at is None:
            return float("inf")
        # Not by `first_sent`: a run may be resumed hours later, and a CVM is stopped only after a shutdown request.
        return job.announced_at + self._escalate_after

    def _give_up_if_late(self, job: Job, reason: str, reply: Reply[object] | None = None) -> bool:
        """End a target after too long a time without an accepted request; return True if the target ended."""
        now = self._clock.now()
        since = job.first_sent if job.escalated_at is None else job.escalated_at
        waited = now - (now if since is None else since)
        if self._last_moment(job) < float("inf"):
            return False  # a stop follows then
        if waited <= self._patience or job.attempts < PATIENCE_ATTEMPTS:
            return False
        self.end_job(job, Outcome.FAILED, f"given up after {job.attempts} requests in {waited:.0f}s: {reason}", reply)
        return True
