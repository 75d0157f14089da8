"""One wave of a step: send the requests, and watch the CVMs until every target has an outcome."""

from collections.abc import Sequence
from typing import Protocol

import anyio

from orchestrator.engine.context import RunContext
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.rate.backoff import PollBackoff
from orchestrator.engine.send.dispatcher import Dispatcher
from orchestrator.engine.send.queue import SendQueue
from orchestrator.engine.watch.watcher import Watcher
from orchestrator.engine.workspace import Workspace
from orchestrator.outcome import Ending, Outcome
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits

_LAST_ANSWERS = 2.0
"""Seconds to wait for open answers in a hurry; `resume` decides the other targets by status."""


class WaveObserver(Protocol):
    """Control of the run, as a wave needs it."""

    @property
    def ending(self) -> Ending | None:
        """Why the run is to end; None while the run continues."""
        ...

    def count_failures(self, step: PlannedStep | None = None) -> None:
        """End the run if a target's failure exceeds the limit of the run or of the step."""
        ...


class Wave:
    """Carries out a wave of a step.

    Attributes:
        cut_short: whether a CVM was left running without its planned stop, because the run ended.
    """

    def __init__(
        self,
        context: RunContext,
        workspace: Workspace,
        step: PlannedStep,
        limits: RunLimits,
        observer: WaveObserver,
    ) -> None:
        """Set up.

        Args:
            context: the shared parts of the run.
            workspace: receives the requests.
            step: the step.
            limits: limits on rate and concurrency.
            observer: the control of the run.
        """
        self._context, self._step, self._observer = context, step, observer
        self.cut_short = False
        self._escalates = step.escalate_after is not None
        self._queue = SendQueue(context, step, limits, self)
        self._dispatcher = Dispatcher(context, workspace, self._queue, limits.max_in_flight, self)
        backoff = PollBackoff(context.settle.poll_min, context.settle.poll_max, workspace.gate.budget)
        self._watcher = Watcher(context, workspace.reader, backoff, step, self)
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
            self._sending.deadline = min(self._sending.deadline, self._context.clock.now() + _LAST_ANSWERS)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Carry out the open targets.

        Raises:
            AuditError: when the audit log can't be written.
        """
        if self._queue.at_once > 1:
            jobs = sorted(jobs, key=lambda job: job.needs_own_request)  # batches first, and all batches full
        for job in jobs:
            if job.is_accepted:
                self._watch(job, accepted=True, since=job.accepted_at)
            elif job.is_in_doubt:
                self._queue.add_watched()
                self._watch(job, accepted=False)
            else:
                self._queue.add_job(job)
        async with anyio.create_task_group() as group:
            group.start_soon(self._run_watcher)
            with self._sending:
                await self._dispatcher.run()
            self._watcher.close()

    async def _run_watcher(self) -> None:
        with self._watching:
            await self._watcher.run()

    def _watch(self, job: Job, *, accepted: bool, since: float | None = None, is_overdue: bool = False) -> None:
        if self._escalates and job.can_escalate:
            self._queue.add_possible_stop()
        if not accepted:
            job.phase = RequestPhase.IN_DOUBT
        self._watcher.add_job(job, accepted=accepted, since=since, is_overdue=is_overdue)

    def on_accepted(self, job: Job) -> None:
        """Watch a target with an accepted request."""
        self._watch(job, accepted=True)

    def on_in_doubt(self, job: Job) -> None:
        """Watch a target with a request of unknown effect."""
        self._watch(job, accepted=False)

    def on_overdue(self, job: Job) -> None:
        """Let the status decide about a shutdown not accepted in time."""
        self._watch(job, accepted=False, is_overdue=True)

    def on_all_sent(self) -> None:
        """Wake the watcher after the last request: polls may come sooner."""
        self._watcher.wake()

    @property
    def unsent(self) -> int:
        """Number of requests still to be sent."""
        return 0 if self._dispatcher.is_halted else self._queue.unsent

    def on_effect(self, job: Job) -> None:
        """Take a target out of the send queue for good: its request of unknown effect is decided."""
        job.clear_doubt()
        self._queue.count_resolved()
        self._dispatcher.wake()

    def on_no_effect(self, job: Job) -> None:
        """Send a target again: its request of unknown effect had no effect."""
        job.clear_doubt()
        self.on_ended(job)
        self._queue.requeue(job)
        self._dispatcher.wake()

    def on_ended(self, job: Job) -> None:
        """Count the end of the watch of a target."""
        if self._escalates and job.can_escalate:
            self._queue.remove_possible_stop()
            self._dispatcher.wake()

    def on_failed(self) -> None:
        """Check the limits on failures after a target ended with another outcome than wanted."""
        self._observer.count_failures(self._step)

    def escalate(self, job: Job, reason: str) -> None:
        """Stop a CVM still running after its shutdown, unless no request may be sent."""
        self.on_ended(job)
        ledger, ending = self._context.ledger, self._observer.ending
        if job.withheld is not None:
            ledger.record_outcome(job, Outcome.UNSETTLED, f"{reason}; not stopped: {job.withheld.text}")
            self.on_failed()
        elif not self._dispatcher.is_halted:
            ledger.record_escalation(job, reason)
            self._queue.add_job(job)
            self._dispatcher.wake()
        elif ending is not None and not ending.resumable:
            self.cut_short = True
            ledger.record_outcome(job, Outcome.UNSETTLED, f"{reason}; the run ended before the force-stop")
            self.on_failed()
