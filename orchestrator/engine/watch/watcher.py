"""Watcher: poll the statuses of all watched CVMs in batches, in one loop."""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Protocol

from orchestrator.cvm import UP
from orchestrator.engine.context import RunContext
from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.job import Job
from orchestrator.engine.rate.backoff import PollBackoff
from orchestrator.engine.read.status import Observation, StatusReader
from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_status
from orchestrator.outcome import Outcome
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import StatusRead
from orchestrator.times import format_duration

_SECONDS_OF_READS = 0.5
"""The requests of a poll take at most this time at the rate limit."""

_UNREAD_ROUNDS = 30
"""Reads without a status, in a row after the deadline of a CVM, before the status counts as unreadable."""

_FAILURES = {
    Finding.BACK_UP: "it went back to running after its {action} was accepted",
    Finding.NOT_UP: "its {action} was accepted, and yet it is {status}",
    Finding.INCONCLUSIVE: (
        "it runs and was never seen to restart, so the effect is unknown; the request is not sent again"
    ),
}
"""Reasons for the user, by finding, for a failed CVM."""


@dataclass(slots=True)
class _Entry:
    """A watched target.

    Attributes:
        job: the target.
        watched: the state of the target's CVM.
        still_up: seconds from the request to the last read of an unsettled status.
        unread: the number of reads without a status, in a row since the deadline.
        is_overdue: whether the request was not accepted in time, so a single status decides.
    """

    job: Job
    watched: WatchState
    still_up: float = 0.0
    unread: int = 0
    is_overdue: bool = False


class WatchObserver(Protocol):
    """Receiver of the watcher's findings."""

    @property
    def unsent(self) -> int:
        """Number of requests still to be sent."""
        ...

    def escalate(self, job: Job, reason: str) -> None:
        """Stop a target still running after its shutdown; the target is no longer watched."""
        ...

    def on_effect(self, job: Job) -> None:
        """React to the decision about a request of unknown effect: not to be sent again."""
        ...

    def on_no_effect(self, job: Job) -> None:
        """React to a request of unknown effect without an effect; the target is no longer watched."""
        ...

    def on_ended(self, job: Job) -> None:
        """React to the outcome of a target."""
        ...

    def on_failed(self) -> None:
        """React to a target ended with another outcome than wanted."""
        ...


class Watcher:
    """Watches the targets of a wave until every target has an outcome.

    Attributes:
        timeout: seconds from the accepted request to the end of the wait for a CVM.
    """

    def __init__(
        self,
        context: RunContext,
        reader: StatusReader,
        backoff: PollBackoff,
        step: PlannedStep,
        observer: WatchObserver,
    ) -> None:
        """Set up.

        Args:
            context: the shared parts of the run.
            reader: reads statuses.
            backoff: computes the wait between polls.
            step: the step, with the timeout and the time of escalation.
            observer: receives the findings.
        """
        self.timeout = step.settle_timeout
        self._reader, self._backoff, self._observer = reader, backoff, observer
        self._ledger, self._clock = context.ledger, context.clock
        self._recheck_after = context.settle.recheck_after
        self._escalate_after = step.escalate_after
        self._entries: dict[str, _Entry] = {}
        self._turn: deque[_Entry] = deque()
        self._in_doubt: dict[str, None] = {}  # targets in doubt, in the order of their requests
        self._may_escalate: dict[str, None] = {}  # the same order; these targets have another deadline
        self._last_round = self._clock.now()
        self._newest = self._clock.now()
        self._sample_was_down = False
        self._wakeup = AutoResetEvent()
        self._closed = False

    def add_job(self, job: Job, *, accepted: bool, since: float | None = None, is_overdue: bool = False) -> None:
        """Add a target to watch.

        Args:
            job: the target.
            accepted: False if the effect of the request is unknown.
            since: time of the acceptance, or the end of the request; now by default.
            is_overdue: whether the request was not accepted in time, so a single status decides.
        """
        now = self._clock.now()
        since = now if since is None else since
        if not self._entries:
            self._last_round = now
        self._newest = max(self._newest, since)
        shared = job.batch is not None
        watched = WatchState(job.before, since, since + self._patience_for(job), accepted, shared, job.action)
        if is_overdue:
            watched.deadline = now
        watched.follows_shutdown = job.escalated_at is not None
        # The answer to a restart may show the CVM under way; later reads may miss this status.
        watched.has_moved = accepted and job.action.restarts_cvms and job.status not in {None, UP}
        entry = _Entry(job, watched, is_overdue=is_overdue)
        self._entries[job.ref.key] = entry
        self._turn.append(entry)
        if not accepted:
            self._in_doubt[job.ref.key] = None
        if self._escalate_after is not None and job.can_escalate:
            self._may_escalate[job.ref.key] = None
        if not accepted or len(self._entries) == 1:
            self._wakeup.set()

    def _patience_for(self, job: Job) -> float:
        """Seconds for a CVM to settle, until the timeout or the escalation."""
        return self.timeout if self._escalate_after is None or not job.can_escalate else self._escalate_after

    def wake(self) -> None:
        """Wake the watcher to compute the next poll again, for example after the last request."""
        self._wakeup.set()

    def close(self) -> None:
        """Close the watcher: no more targets will be added."""
        self._closed = True
        self._wakeup.set()

    async def run(self) -> None:
        """Watch until the watcher is closed and every target has an outcome.

        Raises:
            AuditError: when the audit log can't be written.
        """
        while True:
            if not self._entries:
                if self._closed:
                    return
                await self._wakeup.wait()
                continue
            wait = self._next_poll_at() - self._clock.now()
            if wait > 0:
                await self._wakeup.wait(wait)
                continue
            await self._poll_statuses()

    def _next_poll_at(self) -> float:
        """Compute the time of the next poll."""
        oldest = next(iter(self._entries.values())).watched
        now = self._clock.now()
        wait = self._backoff.wait_seconds(
            watched=len(self._entries),
            unsent=self._observer.unsent,
            oldest=now - oldest.since,
            youngest=self._last_round - self._newest,
            reads=ceil(len(self._entries) / self._reader.batch_size),
        )
        if self._sample_was_down and not self._observer.unsent:
            wait = self._backoff.shortest
        due = min(self._last_round + wait, oldest.deadline)
        if self._may_escalate:
            due = min(due, self._entries[next(iter(self._may_escalate))].watched.deadline)
        if self._in_doubt:
            first = self._entries[next(iter(self._in_doubt))].watched
            proof_at = first.since + self._recheck_after
            if self._last_round >= proof_at:  # that read showed no status, or none that decides
                proof_at = self._last_round + self._recheck_after
            due = min(due, proof_at)
        return max(due, self._last_round + self._backoff.shortest)

    async def _poll_statuses(self) -> None:
        started = self._clock.now()
        entries = self._next_entries()
        seen = await self._reader.read_statuses([entry.job.ref for entry in entries])
        settled = 0
        is_sample = not self._backoff.some_are_down and len(entries) < len(self._entries)
        for entry in entries:
            settled += self._apply_observation(entry, seen.get(entry.job.ref.key), started)
        self._sample_was_down = is_sample and settled > 0
        await self._ledger.flush()
        self._backoff.count_poll(settled=settled, seconds=started - self._last_round)
        self._last_round = started

    def _next_entries(self) -> list[_Entry]:
        """Choose the targets of the next poll, least recently read first, and move these targets to the end.

        Before any CVM was seen down, a poll is one batch as a sample. Half of this batch are the oldest targets. Later
        a poll is one batch while requests are unsent, and then as many batches as the rate limit allows.
        """
        most = self._reader.batch_size
        entries: dict[str, _Entry] = {}
        if not self._backoff.some_are_down:
            entries.update(islice(self._entries.items(), most // 2))
        elif not self._observer.unsent:
            most *= max(1, int(self._backoff.limit.rate * _SECONDS_OF_READS))
        for _ in range(len(self._turn)):
            if len(entries) >= most:
                break
            entry = self._turn.popleft()
            key = entry.job.ref.key
            if self._entries.get(key) is entry:
                self._turn.append(entry)
                entries[key] = entry
        return list(entries.values())

    def _apply_observation(self, entry: _Entry, seen: Observation | None, round_started: float) -> bool:
        """Act on the result of a poll for a CVM; return True if the CVM has settled or is gone."""
        job, watched = entry.job, entry.watched
        if seen is None:
            if round_started >= watched.deadline:
                self._extend_deadline(entry, round_started)
            return False
        if seen.read is None:
            self._end_job(job, job.outcome_if_deleted, "no such CVM any more: it was deleted meanwhile")
            return True
        finding = self._evaluate_read(entry, seen.read, seen.begun)
        if finding is Finding.SETTLED:
            self._backoff.count_settled(entry.still_up)
            self._end_job(job, Outcome.SETTLED)
            return True
        if finding is Finding.NO_EFFECT and not entry.is_overdue:
            self._stop_watching(job)
            self._observer.on_no_effect(job)
        elif finding is Finding.ERROR:
            words = seen.read.error or "no further words from the API"
            self._end_job(job, Outcome.FAILED, f"its status turned to error: {words}")
        elif finding in _FAILURES:
            words = _FAILURES[finding].format(action=job.action, status=watched.status)
            self._end_or_escalate(job, Outcome.FAILED, words)
        elif round_started >= watched.deadline:
            self._end_or_escalate(job, Outcome.UNSETTLED, self._why_unsettled(entry))
        return False

    def _evaluate_read(self, entry: _Entry, read: StatusRead, begun: float) -> Finding:
        """Evaluate a status; if the status proves the effect of a request in doubt, record the acceptance first."""
        job, watched = entry.job, entry.watched
        self._ledger.record_status(job, read)
        watched.status = read.status
        finding = evaluate_status(watched, read, begun, self._recheck_after)
        if finding is Finding.EFFECT:
            self._ledger.record_acceptance(job, None)
            self._forget_doubt(job)
            watched.is_accepted, watched.since, entry.is_overdue = True, self._clock.now(), False
            watched.deadline = watched.since + self._patience_for(job)
            finding = evaluate_status(watched, read, begun, self._recheck_after)
        if finding is not Finding.SETTLED:
            entry.still_up = begun - watched.since
        return finding

    def _extend_deadline(self, entry: _Entry, now: float) -> None:
        """Extend the deadline of a CVM with an unreadable status, or end the target after too many reads.

        A deadline without a status is no reason to stop a CVM, because the CVM may be down by now.
        """
        job, watched = entry.job, entry.watched
        entry.unread += 1
        if entry.unread < _UNREAD_ROUNDS:
            watched.deadline = now + self._recheck_after
            return
        last = f"last seen {watched.status!r}" if watched.status else "never seen"
        over = f"after the {format_duration(self._patience_for(job))} for the {job.action}"
        self._end_job(
            job, Outcome.UNSETTLED, f"its status could not be read {over}, in {entry.unread} attempts; {last}"
        )

    def _why_unsettled(self, entry: _Entry) -> str:
        job, watched = entry.job, entry.watched
        patience, last = format_duration(self._patience_for(job)), f"last seen {watched.status!r}"
        if entry.is_overdue:
            return f"its {job.action} was not accepted within {patience}; {last}"
        if not watched.is_accepted:
            return f"whether the {job.action} had an effect was not known within {patience}; {last}"
        wanted = "running" if job.action.leaves_running else "down"
        return f"not {wanted} within {patience} of the {job.action}; {last}"

    def _end_or_escalate(self, job: Job, outcome: Outcome, reason: str) -> None:
        if self._escalate_after is None or not job.can_escalate:
            self._end_job(job, outcome, reason)
            return
        self._forget_doubt(job)
        self._stop_watching(job)
        self._observer.escalate(job, reason)

    def _end_job(self, job: Job, outcome: Outcome, reason: str | None = None) -> None:
        self._forget_doubt(job)
        self._stop_watching(job)
        self._ledger.record_outcome(job, outcome, reason)
        self._observer.on_ended(job)
        if outcome not in {Outcome.SETTLED, Outcome.GONE}:
            self._observer.on_failed()

    def _forget_doubt(self, job: Job) -> None:
        """Report a target in doubt as resolved, so the dispatcher does not send the target again."""
        if job.ref.key in self._in_doubt:
            del self._in_doubt[job.ref.key]
            self._observer.on_effect(job)

    def _stop_watching(self, job: Job) -> None:
        self._in_doubt.pop(job.ref.key, None)
        self._may_escalate.pop(job.ref.key, None)
        del self._entries[job.ref.key]
