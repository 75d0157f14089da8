"""The requests that are still to be sent: whose turn it is, in which request, and who is given up."""

from collections.abc import Callable

from orchestrator.action import Action
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Clock
from orchestrator.engine.send.by_teepod import StopQueue
from orchestrator.engine.send.classify import PATIENCE_ATTEMPTS, backoff
from orchestrator.engine.send.in_order import OrderedQueue
from orchestrator.engine.send.ledger import Ledger
from orchestrator.outcome import Outcome
from orchestrator.reply import Reply

_REFUSALS_IN_A_ROW = 2
"""So many batches in a row that the API does not take at all, and it is not asked for one again."""


class SendQueue:
    """Targets whose request is neither known to be accepted nor given up.

    Attributes:
        unsent: how many they are; those under way and those of unknown outcome count.
        may_return: accepted shutdowns of which it is open whether the CVM goes down by itself.
        at_once: stops in one request at the most.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        per_teepod: int,
        at_once: int,
        patience: float,
        escalate_after: float | None,
        in_order: bool,
        failed: Callable[[], None],
        overdue: Callable[[Job], None],
        all_sent: Callable[[], None],
    ) -> None:
        """Set up.

        Args:
            ledger: what is written down.
            clock: what is measured by.
            per_teepod: stops under way on one teepod.
            at_once: stops in one request at the most.
            patience: seconds after which a target that is deferred again and again is given up.
            escalate_after: seconds that a shutdown has before the power is pulled; None where it never is.
            in_order: whether targets go in the order in which they are added; else the teepods take turns.
            failed: called after a target ended otherwise than wanted.
            overdue: called with a shutdown that was not accepted in its time; its CVM's status decides what follows.
            all_sent: called when no request is left to send.
        """
        self.unsent = 0
        self.may_return = 0
        self._ledger, self._clock = ledger, clock
        self._queue = OrderedQueue(per_teepod) if in_order else StopQueue(per_teepod)
        self.at_once, self._patience = at_once, patience
        self._failed, self._overdue, self._all_sent = failed, overdue, all_sent
        self._escalate_after = escalate_after
        self._refusals = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to send, and nothing may come back."""
        return not self.unsent and not self.may_return

    def add(self, work: Job) -> None:
        """Take on a target whose request is to be sent."""
        self.unsent += 1
        self._queue.push(work)

    def expect(self) -> None:
        """Take on a target that was sent earlier with unknown outcome, and is watched already."""
        self.unsent += 1

    def next(self) -> list[Job]:
        """The targets of the next request, which are under way from now on; none when nothing is due."""
        jobs: list[Job] = []
        now = self._clock.now()
        while len(jobs) < self.at_once:
            work = self._queue.peek(now)
            if work is None or (jobs and work.singly):
                break
            self._queue.pop(now)
            if now >= self._last_moment(work):
                self._queue.done(work)
                self._overdue(work)
                continue
            jobs.append(work)
            if work.singly:
                break
        return jobs

    def next_due(self) -> float:
        """When the first of those put aside is due; infinity when there is none."""
        return self._queue.next_due()

    def answered(self, work: Job) -> None:
        """Count a target's request as answered, which makes room on its teepod."""
        self._queue.done(work)

    def taken(self) -> None:
        """Count a target as accepted, or as known to have felt an earlier request."""
        self.unsent -= 1
        if not self.unsent:
            self._all_sent()

    def expect_back(self) -> None:
        """Count an accepted shutdown that may have to be followed by a stop."""
        self.may_return += 1

    def not_back(self) -> None:
        """Count one of those as settled in one way or another, or as back on this desk."""
        self.may_return -= 1

    def defer(self, work: Job, wait: float, reason: str, reply: Reply[object]) -> None:
        """Put a target aside for so many seconds, or give it up."""
        if not self._given_up(work, reason, reply):
            self._queue.defer(work, min(self._clock.now() + wait, self._last_moment(work)))

    def again(self, work: Job) -> None:
        """Send a target again whose request had no effect by a fresh status, or end it."""
        if work.withheld is not None:
            self._ledger.withheld(work, work.withheld)
            self.unsent -= 1
            return
        last = f"; the last of them: {work.trouble}" if work.trouble else ""
        reason = f"the API's answers never told whether the {work.action} had an effect, and it had none{last}"
        if self._given_up(work, reason):
            return
        if work.action is Action.STOP:
            self._queue.push(work)
        else:
            # A start without a free GPU is answered like this as well, and may be for long.
            self._queue.defer(work, min(self._clock.now() + backoff(work.attempts, 0.5), self._last_moment(work)))

    def end(self, work: Job, outcome: Outcome, reason: str, reply: Reply[object] | None = None) -> None:
        """Let a target have its outcome without being accepted."""
        self._ledger.ended(work, outcome, reason, reply)
        self.taken()
        if outcome is not Outcome.GONE:
            self._failed()

    def batch_taken(self, *, taken: bool) -> None:
        """Hear whether the API took a batch, were it for some of it; after a few refusals no more are made."""
        self._refusals = 0 if taken else self._refusals + 1
        if self._refusals >= _REFUSALS_IN_A_ROW:
            self.at_once = 1

    def _last_moment(self, work: Job) -> float:
        """When a shutdown that is not accepted has been tried for long enough; infinity where the power stays on."""
        if self._escalate_after is None or work.action is not Action.SHUTDOWN or work.asked_since is None:
            return float("inf")
        # Not by `first_sent`: a run may be resumed hours later, and nobody's power is pulled who was not asked.
        return work.asked_since + self._escalate_after

    def _given_up(self, work: Job, reason: str, reply: Reply[object] | None = None) -> bool:
        """End a target whose request would not go through for too long."""
        now = self._clock.now()
        since = work.first_sent if work.escalated_at is None else work.escalated_at
        waited = now - (now if since is None else since)
        if self._last_moment(work) < float("inf"):
            return False  # the power is pulled then
        if waited <= self._patience or work.attempts < PATIENCE_ATTEMPTS:
            return False
        self.end(work, Outcome.FAILED, f"given up after {work.attempts} requests in {waited:.0f}s: {reason}", reply)
        return True
