"""Watching the whole fleet settle, by batch: one loop for all, and no task a CVM."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from math import ceil

from orchestrator.action import Action
from orchestrator.cvm import UP
from orchestrator.duration import format_duration
from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Clock
from orchestrator.engine.rate.backoff import Pace
from orchestrator.engine.read.status import Observation, StatusReader
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, Watched, judge
from orchestrator.outcome import Outcome
from orchestrator.reply import StatusRead

_SECONDS_OF_READS = 0.5
"""A round has no more requests than go in this time."""

_UNREAD_ROUNDS = 30
"""So many reads in a row after its deadline that do not show a CVM, and its status counts as unreadable."""

_FAILURES = {
    Finding.BACK_UP: "it went back to running after its {action} was accepted",
    Finding.NOT_UP: "its {action} was accepted, and yet it is {status}",
    Finding.INCONCLUSIVE: (
        "it runs and was never seen to restart, so whether it did can't be told; it is not asked again"
    ),
}
"""What a finding means to a person, where the CVM failed by it."""


@dataclass(slots=True)
class _Entry:
    """One watched target.

    Attributes:
        work: the target.
        watched: what is known of its CVM.
        still_up: how many seconds after its request it was last seen not settled.
        unread: how many reads in a row did not show its CVM since its deadline passed.
        untaken: whether its request was never accepted in the time it had, so that one answer decides.
    """

    work: Job
    watched: Watched
    still_up: float = 0.0
    unread: int = 0
    untaken: bool = False


class Watcher:
    """Watches the targets of one step until each has an outcome.

    Attributes:
        timeout: seconds from a CVM's acceptance until the wait for it ends.
    """

    def __init__(
        self,
        *,
        reader: StatusReader,
        ledger: Ledger,
        clock: Clock,
        pace: Pace,
        timeout: float,
        recheck_after: float,
        escalate_after: float | None,
        unsent: Callable[[], int],
        escalate: Callable[[Job, str], None],
        resolved: Callable[[Job, bool], None],
        ended: Callable[[Job], None],
        failed: Callable[[], None],
    ) -> None:
        """Set up.

        Args:
            reader: reads statuses.
            ledger: what is written down.
            clock: what is measured by.
            pace: how long to wait between rounds.
            timeout: seconds from a CVM's acceptance until the wait for it ends.
            recheck_after: seconds by which reads may lag.
            escalate_after: seconds from the acceptance of a shutdown until its CVM is to be stopped; None for never.
            unsent: how many requests are still to be sent.
            escalate: called with a target that did not go down by itself, which is not watched any more.
            resolved: called with a target of unknown outcome once it is known whether to send it again.
            ended: called with a target that has its outcome.
            failed: called after a target ended otherwise than wanted.
        """
        self.timeout = timeout
        self._reader, self._ledger, self._clock, self._pace = reader, ledger, clock, pace
        self._recheck_after = recheck_after
        self._escalate_after = escalate_after
        self._unsent, self._escalate, self._resolved = unsent, escalate, resolved
        self._ended, self._failed = ended, failed
        self._entries: dict[str, _Entry] = {}
        self._turn: deque[_Entry] = deque()
        self._in_doubt: dict[str, None] = {}  # in the order of their requests
        self._may_escalate: dict[str, None] = {}  # the same; their patience is another than that of the rest
        self._last_round = clock.now()
        self._newest = clock.now()
        self._sample_was_down = False
        self._bell = AutoResetEvent()
        self._closed = False

    def add(self, work: Job, *, accepted: bool, since: float | None = None, untaken: bool = False) -> None:
        """Watch a target.

        Args:
            work: the target.
            accepted: False when it is unknown whether its request had an effect.
            since: when it was accepted, or its request ended; now by default.
            untaken: whether its request was never accepted in the time it had: one answer decides what follows.
        """
        now = self._clock.now()
        since = now if since is None else since
        if not self._entries:
            self._last_round = now
        self._newest = max(self._newest, since)
        shared = work.batch is not None
        watched = Watched(work.before, since, since + self._patience(work), accepted, shared, work.action)
        if untaken:
            watched.deadline = now
        watched.overtaken = work.escalated_at is not None
        # The answer to a restart shows it on its way; the reads that follow may miss that.
        watched.moved = accepted and work.action is Action.RESTART and work.status not in {None, UP}
        entry = _Entry(work, watched, untaken=untaken)
        self._entries[work.ref.key] = entry
        self._turn.append(entry)
        if not accepted:
            self._in_doubt[work.ref.key] = None
        if self._escalate_after is not None and work.may_escalate:
            self._may_escalate[work.ref.key] = None
        if not accepted or len(self._entries) == 1:
            self._bell.ring()

    def _patience(self, work: Job) -> float:
        """Seconds that a CVM has to settle, before what follows then."""
        return self.timeout if self._escalate_after is None or not work.may_escalate else self._escalate_after

    def wake(self) -> None:
        """Reckon anew when the next round is due: nothing is left to send."""
        self._bell.ring()

    def close(self) -> None:
        """Say that nothing more will be added."""
        self._closed = True
        self._bell.ring()

    async def run(self) -> None:
        """Watch until everything that was added has an outcome and nothing more will be added.

        Raises:
            AuditError: when the trail can't be written.
        """
        while True:
            if not self._entries:
                if self._closed:
                    return
                await self._bell.wait()
                continue
            wait = self._due() - self._clock.now()
            if wait > 0:
                await self._bell.wait(wait)
                continue
            await self._round()

    def _due(self) -> float:
        """When the next round is due."""
        oldest = next(iter(self._entries.values())).watched
        now = self._clock.now()
        wait = self._pace.wait(
            watched=len(self._entries),
            unsent=self._unsent(),
            oldest=now - oldest.since,
            youngest=self._last_round - self._newest,
            reads=ceil(len(self._entries) / self._reader.batch_size),
        )
        if self._sample_was_down and not self._unsent():
            wait = self._pace.shortest
        due = min(self._last_round + wait, oldest.deadline)
        if self._may_escalate:
            due = min(due, self._entries[next(iter(self._may_escalate))].watched.deadline)
        if self._in_doubt:
            first = self._entries[next(iter(self._in_doubt))].watched
            due = min(due, first.since + self._recheck_after)
        return max(due, self._last_round + self._pace.shortest)

    async def _round(self) -> None:
        started = self._clock.now()
        entries = self._next_entries()
        seen = await self._reader.read([entry.work.ref for entry in entries])
        settled = 0
        is_sample = not self._pace.some_are_down and len(entries) < len(self._entries)
        for entry in entries:
            settled += self._take_in(entry, seen.get(entry.work.ref.key), started)
        self._sample_was_down = is_sample and settled > 0
        await self._ledger.flush()
        self._pace.finished_round(settled=settled, seconds=started - self._last_round)
        self._last_round = started

    def _next_entries(self) -> list[_Entry]:
        """Those read least recently, as many as the share of the rate allows for reads; they go to the end.

        Before any of them was seen down, one batch tells whether they begin to be, half of it those stopped first.
        """
        most = self._reader.batch_size
        entries: dict[str, _Entry] = {}
        if not self._pace.some_are_down:
            entries.update(islice(self._entries.items(), most // 2))
        elif not self._unsent():
            most *= max(1, int(self._pace.limit.rate * _SECONDS_OF_READS))
        for _ in range(len(self._turn)):
            if len(entries) >= most:
                break
            entry = self._turn.popleft()
            key = entry.work.ref.key
            if self._entries.get(key) is entry:
                self._turn.append(entry)
                entries[key] = entry
        return list(entries.values())

    def _take_in(self, entry: _Entry, seen: Observation | None, round_started: float) -> bool:
        """Follow what a round says of one CVM; True when it is down or gone."""
        work, watched = entry.work, entry.watched
        if seen is None:
            if round_started >= watched.deadline:
                self._read_again(entry, round_started)
            return False
        if seen.read is None:
            self._end(work, work.if_deleted, "no such CVM any more: it was deleted meanwhile")
            return True
        finding = self._judge(entry, seen.read, seen.begun)
        if finding is Finding.SETTLED:
            self._pace.settled(entry.still_up)
            self._end(work, Outcome.SETTLED)
            return True
        if finding is Finding.NO_EFFECT and not entry.untaken:
            self._drop(work)
            self._resolved(work, True)  # noqa: FBT003 - the callback's one flag
        elif finding is Finding.ERROR:
            words = seen.read.error or "no further words from the API"
            self._end(work, Outcome.FAILED, f"its status turned to error: {words}")
        elif finding in _FAILURES:
            words = _FAILURES[finding].format(action=work.action, status=watched.status)
            self._end_or_escalate(work, Outcome.FAILED, words)
        elif round_started >= watched.deadline:
            self._end_or_escalate(work, Outcome.UNSETTLED, self._why_unsettled(entry))
        return False

    def _judge(self, entry: _Entry, read: StatusRead, begun: float) -> Finding:
        """Judge a status; one that shows the effect of a request in doubt counts as its acceptance first."""
        work, watched = entry.work, entry.watched
        self._ledger.status(work, read)
        watched.status = read.status
        finding = judge(watched, read, begun, self._recheck_after)
        if finding is Finding.EFFECT:
            self._ledger.accepted(work, None)
            self._forget_doubt(work)
            watched.accepted, watched.since, entry.untaken = True, self._clock.now(), False
            watched.deadline = watched.since + self._patience(work)
            finding = judge(watched, read, begun, self._recheck_after)
        if finding is not Finding.SETTLED:
            entry.still_up = begun - watched.since
        return finding

    def _read_again(self, entry: _Entry, now: float) -> None:
        """Put off the deadline of a CVM whose status could not be read, or end its target after too many reads.

        A deadline without an answer is no reason to stop a CVM: it may be down by now.
        """
        work, watched = entry.work, entry.watched
        entry.unread += 1
        if entry.unread < _UNREAD_ROUNDS:
            watched.deadline = now + self._recheck_after
            return
        last = f"last seen {watched.status!r}" if watched.status else "never seen"
        over = f"after the {format_duration(self._patience(work))} for the {work.action}"
        self._end(work, Outcome.UNSETTLED, f"its status could not be read {over}, in {entry.unread} attempts; {last}")

    def _why_unsettled(self, entry: _Entry) -> str:
        work, watched = entry.work, entry.watched
        patience, last = format_duration(self._patience(work)), f"last seen {watched.status!r}"
        if entry.untaken:
            return f"its {work.action} was not accepted within {patience}; {last}"
        if not watched.accepted:
            return f"whether the {work.action} had an effect could not be told within {patience}; {last}"
        wanted = "running" if work.action.leaves_running else "down"
        return f"not {wanted} within {patience} of the {work.action}; {last}"

    def _end_or_escalate(self, work: Job, outcome: Outcome, reason: str) -> None:
        if self._escalate_after is None or not work.may_escalate:
            self._end(work, outcome, reason)
            return
        self._forget_doubt(work)
        self._drop(work)
        self._escalate(work, reason)

    def _end(self, work: Job, outcome: Outcome, reason: str | None = None) -> None:
        self._forget_doubt(work)
        self._drop(work)
        self._ledger.ended(work, outcome, reason)
        self._ended(work)
        if outcome not in {Outcome.SETTLED, Outcome.GONE}:
            self._failed()

    def _forget_doubt(self, work: Job) -> None:
        """A target of unknown outcome is off the dispatcher's desk."""
        if work.ref.key in self._in_doubt:
            del self._in_doubt[work.ref.key]
            self._resolved(work, False)  # noqa: FBT003 - the callback's one flag

    def _drop(self, work: Job) -> None:
        self._in_doubt.pop(work.ref.key, None)
        self._may_escalate.pop(work.ref.key, None)
        del self._entries[work.ref.key]
