"""Dispatcher: record the intent of a request on disk, send the request through the gate, record the answer.

Intents are recorded a little ahead of sending: the requests of a twentieth of a second, and more on a slow disk. So
one fsync serves several requests and does not slow down the rate, and few unsent requests are on record when a run has
to stop. Answers
become durable with the next intents, or a moment later. If an answer is lost with the process, `resume` decides by
status.
"""

from collections import deque
from itertools import islice
from math import ceil
from typing import Protocol

import anyio
import anyio.abc

from orchestrator.audit.events import Event
from orchestrator.engine.context import RunContext
from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.job import Job
from orchestrator.engine.rate.gate import Priority
from orchestrator.engine.send.classify import Decision, ReplyClass, classify_batch_reply, classify_reply
from orchestrator.engine.send.queue import SendQueue
from orchestrator.engine.workspace import Workspace
from orchestrator.outcome import Outcome
from orchestrator.reply import Reply, StatusRead

_INSTANT = 0.001
"""Seconds; a shorter wait is not worthwhile, and may be too short for the clock to move."""
_ANNOUNCE_AHEAD, _MOST_AHEAD = 0.05, 0.5
"""Seconds of sending to announce ahead: at least, and at most on a slow disk."""
_SEND_AFTER_HALT = 0.1
"""Seconds after a halt in which requests on record are still sent."""
_FORGET = 0.98
"""Share of the slowest flush to expect of the next flush: a busy disk is slow again and again."""
_FLUSH_AFTER = 0.1
"""Seconds for which an answer may wait for other answers before the flush."""


class RequestObserver(Protocol):
    """Receiver of targets with a sent request."""

    def on_accepted(self, job: Job) -> None:
        """React to an accepted request."""
        ...

    def on_in_doubt(self, job: Job) -> None:
        """React to a request of unknown effect."""
        ...


class Dispatcher:
    """Sends the requests of a wave.

    Attributes:
        is_halted: whether the dispatcher was halted.
    """

    def __init__(
        self,
        context: RunContext,
        workspace: Workspace,
        queue: SendQueue,
        max_in_flight: int,
        observer: RequestObserver,
    ) -> None:
        """Set up.

        Args:
            context: the shared parts of the run.
            workspace: receives the requests.
            queue: the send queue.
            max_in_flight: the most requests in flight; at most twice as many are announced ahead.
            observer: receives every target with an accepted request or a request of unknown effect.
        """
        self._cloud, self._gate = workspace.cloud, workspace.gate
        self._ledger, self._clock, self._rng = context.ledger, context.clock, context.rng
        self._queue, self._max_in_flight, self._observer = queue, max_in_flight, observer
        self._announced: deque[list[Job]] = deque()  # requests on record and not yet sent, in order
        self._announcer_wakeup, self._sender_wakeup = AutoResetEvent(), AutoResetEvent()
        self._is_announcing = True
        self._slowest_flush = 0.0  # seconds; of the last flushes
        self._unsent_count = 0  # the length of `_announced`, and the requests being recorded or waiting for their turn
        self.is_halted = False
        self._send_until = float("inf")  # after a halt: the last moment to send a request on record
        self._turn_scope: anyio.CancelScope | None = None  # of the request waiting for its turn
        self._is_flush_due = False  # whether a task will flush the last answers

    def wake(self) -> None:
        """Wake the dispatcher to check the send queue again."""
        self._announcer_wakeup.set()

    def halt(self, *, at_once: bool = False) -> None:
        """Stop sending, except requests on record and due at once; answers to sent requests are still recorded.

        Args:
            at_once: whether to send not even the requests on record.
        """
        send_until = self._clock.now() + (0 if at_once else _SEND_AFTER_HALT)
        self.is_halted, self._send_until = True, min(self._send_until, send_until)
        self._announcer_wakeup.set()
        if self._turn_scope is not None and at_once:
            self._turn_scope.cancel()
        elif self._turn_scope is not None:
            self._turn_scope.deadline = self._send_until

    async def run(self) -> None:
        """Send until the queue is empty, or until halted.

        Raises:
            AuditError: when the audit log can't be written; then no request is sent.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._announce_requests)
            while self._is_announcing or self._announced:
                if self._announced:
                    await self._send_in_turn(self._announced.popleft(), group)
                else:
                    await self._sender_wakeup.wait()
            await self._ledger.flush()

    async def _announce_requests(self) -> None:
        """Record the intents of the next requests a little ahead of sending, until the queue is done."""
        while not self._queue.is_done and not self.is_halted:
            ahead = min(max(_ANNOUNCE_AHEAD, 2 * self._slowest_flush), _MOST_AHEAD)
            stops = min(2 * self._max_in_flight, ceil(self._gate.budget.rate * ahead))
            allowed = ceil(max(1, stops) / self._queue.at_once)  # the most requests on record and not yet sent
            if (
                self._unsent_count > allowed // 2
            ):  # in groups: an fsync for each request would cost more than the request
                await self._announcer_wakeup.wait()
                continue
            due_in = self._gate.budget.wait_seconds(self._clock.now()) - ahead
            if due_in > _INSTANT and not self._unsent_count:
                await self._announcer_wakeup.wait(due_in)  # nothing is due yet, and the run may be halted before
                continue
            requests = list(islice(iter(self._queue.next_request, []), allowed - self._unsent_count))
            if not requests:
                await self._announcer_wakeup.wait(self._queue.next_due() - self._clock.now())
                continue
            self._unsent_count += len(requests)
            for jobs in requests:
                self._ledger.record_intent(jobs)
            began = self._clock.now()
            await self._ledger.flush()
            self._slowest_flush = max(self._clock.now() - began, _FORGET * self._slowest_flush)
            self._announced += requests
            self._sender_wakeup.set()
        self._is_announcing = False
        self._sender_wakeup.set()

    async def _send_in_turn(self, jobs: list[Job], group: anyio.abc.TaskGroup) -> None:
        """Wait for the turn of a request and send; after a halt, wait only until the end of sending."""
        has_turn = False
        # A slow flush may have outlasted the end of sending, and `enter` takes a free turn whatever the deadline.
        if self._clock.now() > self._send_until:
            self._record_unsent(jobs)
            return
        with anyio.CancelScope(deadline=self._send_until) as self._turn_scope:
            await self._gate.enter(Priority.ACT)
            has_turn = True
        self._turn_scope = None
        if has_turn:
            group.start_soon(self._send_while_admitted, jobs, group)
            return
        self._record_unsent(jobs)

    def _record_unsent(self, jobs: list[Job]) -> None:
        self._unsent_count -= 1
        for job in jobs:
            self._ledger.record_not_sent(job, "the run stopped before this request was sent")
            self._queue.count_answer(job)

    async def _send_while_admitted(self, jobs: list[Job], group: anyio.abc.TaskGroup) -> None:
        """Send a request, and then the next requests while the gate admits them at once; saves a task per request."""
        while True:
            self._unsent_count -= 1
            self._announcer_wakeup.set()
            await self._send_request(jobs, group)
            if self.is_halted or not self._announced or not self._gate.try_enter(Priority.ACT):
                return
            jobs = self._announced.popleft()

    async def _send_request(self, jobs: list[Job], group: anyio.abc.TaskGroup) -> None:
        try:
            decisions, reply = await (self._send_one(jobs[0]) if len(jobs) == 1 else self._send_batch(jobs))
        except anyio.get_cancelled_exc_class():
            for job in jobs:
                self._ledger.record_unanswered(job)
            raise
        finally:
            self._gate.leave()
            for job in jobs:
                self._queue.count_answer(job)
        for job, decision in zip(jobs, decisions, strict=True):
            self._apply_decision(job, reply, decision)
        self._announcer_wakeup.set()
        if not self._is_flush_due:
            self._is_flush_due = True
            group.start_soon(self._flush_soon)

    async def _flush_soon(self) -> None:
        await anyio.sleep(_FLUSH_AFTER)
        self._is_flush_due = False
        await self._ledger.flush()

    async def _send_one(self, job: Job) -> tuple[list[Decision], Reply[object]]:
        reply = await self._cloud.act(job.action, job.ref)
        return [classify_reply(reply, job.attempts, self._rng.random())], reply

    async def _send_batch(self, jobs: list[Job]) -> tuple[list[Decision], Reply[object]]:
        hashids = [job.ref.id or "" for job in jobs]
        reply = await self._cloud.stop_many(hashids)
        attempt = max(job.attempts for job in jobs)
        decisions = classify_batch_reply(reply, hashids, attempt, self._rng.random())
        if reply.value is not None or decisions[hashids[0]].needs_own_request:
            self._queue.count_batch(accepted=reply.value is not None)
        return [decisions[hashid] for hashid in hashids], reply

    def _apply_decision(self, job: Job, reply: Reply[object], decision: Decision) -> None:
        """Record the decision about a target, and act on the decision."""
        job.needs_own_request = job.needs_own_request or decision.needs_own_request
        if decision.reply_class is ReplyClass.ACCEPTED:
            self._ledger.record_acceptance(
                job, reply, reply.value.status if isinstance(reply.value, StatusRead) else None
            )
            self._queue.count_resolved()
            self._observer.on_accepted(job)
        elif decision.reply_class is ReplyClass.UNKNOWN:
            job.trouble = decision.reason
            self._ledger.record_reply(Event.ACTION_UNKNOWN, job, reply, decision.reason)
            self._observer.on_in_doubt(job)
        elif decision.reply_class is ReplyClass.DEFERRED:
            self._defer_job(job, reply, decision)
        elif decision.reply_class is ReplyClass.NOT_PERMITTED:
            self._ledger.record_not_permitted(job, decision.reason)
            self._queue.put_back(job, decision.wait)
        elif decision.reply_class is ReplyClass.KEY_REFUSED:
            self._ledger.record_reply(Event.ACTION_FAILED, job, reply, decision.reason)
        else:
            event, outcome = _ENDINGS[decision.reply_class]
            self._ledger.record_reply(event, job, reply, decision.reason)
            self._queue.end_job(
                job, job.outcome_if_deleted if outcome is Outcome.GONE else outcome, decision.reason, reply
            )

    def _defer_job(self, job: Job, reply: Reply[object], decision: Decision) -> None:
        wait = round(decision.wait, 3)
        self._ledger.record_reply(
            Event.ACTION_DEFERRED, job, reply, decision.reason, retry_after_s=wait, verify=decision.verify
        )
        if decision.whole_run:
            self._gate.pause(decision.wait)
        if decision.verify:
            job.trouble = decision.reason
            self._observer.on_in_doubt(job)
        else:
            self._queue.defer_job(job, decision.wait, decision.reason, reply)


_ENDINGS = {
    ReplyClass.REFUSED: (Event.ACTION_REFUSED, Outcome.REFUSED),
    ReplyClass.GONE: (Event.ACTION_FAILED, Outcome.GONE),
    ReplyClass.FAILED: (Event.ACTION_FAILED, Outcome.FAILED),
}
