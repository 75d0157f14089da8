"""One wave of a step: send the requests, and watch the CVMs until every target has an outcome."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import anyio

from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.backoff import Pace
from orchestrator.engine.rate.breaker import Breaker
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.status import StatusReader
from orchestrator.engine.send.dispatcher import Dispatcher
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.send.queue import SendQueue
from orchestrator.engine.watch.watcher import Watcher
from orchestrator.outcome import Ending, Outcome
from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, PlannedStep, RunLimits

_LAST_ANSWERS = 2.0
"""Seconds to wait for open answers in a hurry; `resume` decides the other targets by status."""


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """Settings of the watcher and timeouts of the run, in seconds except the batch settings.

    Attributes:
        recheck_after: the longest lag of a status behind an operation.
        poll_min: the shortest time between two polls.
        poll_max: the longest time between two polls.
        batch_size: the most statuses in one request.
        batch_missing: whether the server is known to have no batch status request.
        cloud_down: the longest outage of the API before the run ends.
        whole_run: the longest duration of a run.
        look_again_after: the highest age of a known status at the start of a step or wave; older statuses are read
            again.
    """

    recheck_after: float = 2.0
    poll_min: float = 0.2
    poll_max: float = 15.0
    batch_size: int = 1000
    batch_missing: bool = False
    cloud_down: float = 600.0
    whole_run: float = 86_400.0
    look_again_after: float = 60.0


@dataclass(frozen=True, slots=True)
class Line:
    """Shared parts of a run: cloud, gate, status reader, circuit breaker, ledger, clock, jitter and settings."""

    cloud: Cloud
    gate: Gate
    reader: StatusReader
    breaker: Breaker
    ledger: Ledger
    clock: Clock
    rng: Random
    settle: SettleSettings


class Wave:
    """Carries out a wave of a step.

    Attributes:
        cut_short: whether a CVM was left running without its planned stop, because the run ended.
    """

    def __init__(
        self,
        line: Line,
        step: PlannedStep,
        limits: RunLimits,
        *,
        key_refused: Callable[[], None],
        failed: Callable[[], None],
        ending: Callable[[], Ending | None],
    ) -> None:
        """Set up.

        Args:
            line: the shared parts of the run.
            step: the step.
            limits: limits on rate and concurrency.
            key_refused: called when the API refuses the key.
            failed: called after a target ended with another outcome than wanted.
            ending: returns why the run is to end; None while the run goes on.
        """
        self._line, self._failed, self._ending = line, failed, ending
        self.cut_short = False
        self._escalates = step.escalate_after is not None
        self._outbox = SendQueue(
            ledger=line.ledger,
            clock=line.clock,
            per_teepod=limits.per_teepod,
            at_once=MOST_AT_ONCE if limits.dispatch == "batch" and step.action.spec.is_batchable else 1,
            patience=step.settle_timeout,
            escalate_after=step.escalate_after,
            in_order=step.order_by is not None,
            failed=failed,
            overdue=lambda work: self._watch(work, accepted=False, untaken=True),
            all_sent=self._all_sent,
        )
        self._dispatcher = Dispatcher(
            cloud=line.cloud,
            gate=line.gate,
            ledger=line.ledger,
            clock=line.clock,
            rng=line.rng,
            outbox=self._outbox,
            max_in_flight=limits.max_in_flight,
            watch=lambda work, accepted: self._watch(work, accepted=accepted),
            key_refused=key_refused,
            heard=line.breaker.heard,
        )
        self._watcher = Watcher(
            reader=line.reader,
            ledger=line.ledger,
            clock=line.clock,
            pace=Pace(line.settle.poll_min, line.settle.poll_max, line.gate.gcra),
            timeout=step.settle_timeout,
            recheck_after=line.settle.recheck_after,
            escalate_after=step.escalate_after,
            unsent=lambda: 0 if self._dispatcher.halted else self._outbox.unsent,
            escalate=self._escalate,
            resolved=self._resolved,
            ended=self._ended,
            failed=failed,
        )
        self._watching, self._sending = anyio.CancelScope(), anyio.CancelScope()

    def halt(self, *, at_once: bool, stop_watching: bool, hurry: bool = False) -> None:
        """Send no more requests, and watch sent requests to the end unless `stop_watching`.

        Args:
            at_once: whether to send not even the requests already on record.
            stop_watching: whether to read no more statuses.
            hurry: whether to wait only a short time for open answers.
        """
        self._dispatcher.halt(at_once=at_once)
        self._watcher.wake()  # reads may come sooner: nothing is left to send
        if stop_watching:
            self._watching.cancel()
        if hurry:
            self._sending.deadline = min(self._sending.deadline, self._line.clock.now() + _LAST_ANSWERS)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Carry out the open targets.

        Raises:
            AuditError: when the audit log can't be written.
        """
        if self._outbox.at_once > 1:
            jobs = sorted(jobs, key=lambda work: work.singly)  # batches first, and all batches full
        for work in jobs:
            if work.accepted:
                self._watch(work, accepted=True, since=work.accepted_at)
            elif work.in_doubt:
                self._outbox.expect()
                self._watch(work, accepted=False)
            else:
                self._outbox.add(work)
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_watcher)
            with self._sending:
                await self._dispatcher.run()
            self._watcher.close()

    async def _run_watcher(self) -> None:
        with self._watching:
            await self._watcher.run()

    def _watch(self, work: Job, *, accepted: bool, since: float | None = None, untaken: bool = False) -> None:
        if self._escalates and work.may_escalate:
            self._outbox.expect_back()
        work.in_doubt = not accepted
        self._watcher.add(work, accepted=accepted, since=since, untaken=untaken)

    def _resolved(self, work: Job, again: bool) -> None:  # noqa: FBT001 - the callback's one flag
        """Send a target of unknown effect again, or take the target out of the send queue for good."""
        work.in_doubt = False
        if again:
            self._ended(work)
            self._outbox.again(work)
        else:
            self._outbox.taken()
        self._dispatcher.wake()

    def _ended(self, work: Job) -> None:
        """Count the end of the watch of a target."""
        if self._escalates and work.may_escalate:
            self._outbox.not_back()
            self._dispatcher.wake()

    def _all_sent(self) -> None:
        """Wake the watcher after the last request: polls may come sooner."""
        self._watcher.wake()

    def _escalate(self, work: Job, reason: str) -> None:
        """Stop a CVM still running after its shutdown, unless no request may be sent."""
        self._ended(work)
        ending = self._ending()
        if work.withheld is not None:
            self._line.ledger.ended(work, Outcome.UNSETTLED, f"{reason}; not stopped: {work.withheld.text}")
            self._failed()
        elif not self._dispatcher.halted:
            self._line.ledger.escalated(work, reason)
            self._outbox.add(work)
            self._dispatcher.wake()
        elif ending is not None and not ending.resumable:
            self.cut_short = True
            reason = f"{reason}; the run ended before its power was pulled"
            self._line.ledger.ended(work, Outcome.UNSETTLED, reason)
            self._failed()
