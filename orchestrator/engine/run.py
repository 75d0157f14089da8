"""A run: carries out the steps in order, verifies settled CVMs at the end, and writes the last record."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import anyio

from orchestrator.audit.events import Event
from orchestrator.engine.context import EarlierProgress, RunContext
from orchestrator.engine.follow_up import follow_up_sources, plan_follow_up
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.protocols import Approver, CvmClaim
from orchestrator.engine.questions import post_message, request_approval
from orchestrator.engine.rate.breaker import Outage
from orchestrator.engine.read.status import Observation
from orchestrator.engine.result import Deadline, RunResult
from orchestrator.engine.run_control import RunControl, leave_unconfirmed
from orchestrator.engine.watch.abandon import close_open
from orchestrator.engine.wave import Wave
from orchestrator.engine.workspace import Workspace
from orchestrator.errors import AuditError
from orchestrator.outcome import ENDS_THE_RUN, Ending, Exit, Outcome, Reason, SkipReason, exit_code
from orchestrator.playbook.resolved_steps import AnyPlanned, Message, PlannedStep, Question, RunLimits
from orchestrator.times import timestamp

_WHY_NOT_SENT = {
    Ending.MAX_FAILURES: Reason(SkipReason.MAX_FAILURES),
    Ending.STEP_FAILED: Reason(SkipReason.STEP_FAILED),
    Ending.CANARY_FAILED: Reason(SkipReason.CANARY_FAILED),
    Ending.NOT_APPROVED: Reason(SkipReason.NOT_APPROVED),
    Ending.FROZEN: Reason(SkipReason.FROZEN),
    Ending.ABANDONED: Reason(SkipReason.ABANDONED),
    Ending.CANCELLED: Reason(SkipReason.CANCELLED),
}
"""Endings that leave the remaining targets unsent for good, with the reason for these targets."""

_WHY_CUT = {
    Ending.KEY_REFUSED: "the API refused the key",
    Ending.CLOUD_DOWN: "the API was down for too long",
    Ending.TIMED_OUT: "the run took too long",
    Ending.CANCELLED: "the run was cancelled",
}
"""Endings that can cut short a run after another ending, with the words for the reason."""

_FOR_FAILURES = frozenset({Ending.MAX_FAILURES, Ending.STEP_FAILED, Ending.CANARY_FAILED})
"""Endings by failures. If nothing was left to do, the run's ending is `cut_by` or `completed` instead."""


class Run:
    """Carries out the steps of a plan.

    Attributes:
        ledger: records and counts of every target.
        reader: reads statuses.
    """

    def __init__(
        self,
        context: RunContext,
        workspace: Workspace,
        *,
        earlier: EarlierProgress | None = None,
        approver: Approver | None = None,
        claim: CvmClaim | None = None,
        deadline: Deadline | None = None,
        left_alone: bool = False,
        before_finish: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Set up.

        Args:
            context: ledger of every target, clock, limits and settings; a target with an outcome counts as done.
            workspace: receives the requests.
            earlier: recorded progress of the run's earlier parts; None for a new run.
            approver: answers questions; None without an approver.
            claim: keeps other runs away from the CVMs; None without a claim.
            deadline: deadline for the first request of every target; None without a deadline.
            left_alone: whether the plan skipped a selected CVM because a fact about the CVM is unknown.
            before_finish: records more about the targets, before the last record of the run; None for nothing more.
        """
        earlier = earlier or EarlierProgress()
        self.ledger, self.reader = context.ledger, workspace.reader
        self._control = workspace.observer = RunControl(context, workspace, earlier)
        self._approver, self._deadline, self._claim, self._left_alone = approver, deadline, claim, left_alone
        self._remaining: Sequence[AnyPlanned] = ()  # the steps after the current step
        self._stop_on_failure_steps: list[str] = []  # the steps so far with `on_failure: stop`
        self._before_finish = before_finish
        self._final_fields: Mapping[str, object] = {}  # more fields of `run.finished`
        if earlier.refused:
            self._control.halt(Ending.NOT_APPROVED)

    @property
    def outage(self) -> Outage | None:
        """Current outage of the API; None while the API answers."""
        return self._control.workspace.breaker.outage

    @property
    def is_ending(self) -> bool:
        """Whether the run sends no more requests."""
        return self._control.ending is not None

    def interrupt(self, ending: Ending) -> None:
        """Interrupt the run: send no more requests, watch sent requests to the end, leave the rest to `resume`."""
        self._control.halt(ending)

    def cancel(self, by: str | None, *, at_once: bool) -> None:
        """Cancel the run for good: send no more requests, and leave nothing to `resume`.

        Args:
            by: user@host of the person.
            at_once: whether to leave sent requests unwatched; their targets are then unsettled.
        """
        if by is not None:
            self._final_fields = {"cancelled_by": by, **self._final_fields}
        self._control.halt(Ending.CANCELLED, at_once=at_once)

    async def __call__(self, steps: Sequence[AnyPlanned]) -> RunResult:
        """Carry out the steps in order."""
        try:
            return await self._carry_out(steps)
        except anyio.get_cancelled_exc_class():
            await self._abort_run()
            raise

    async def abandon(
        self, seen: Mapping[str, Observation], ending: Ending = Ending.ABANDONED, **about: object
    ) -> RunResult:
        """End the run without a request to change a CVM.

        Args:
            seen: a fresh status of every open target, read at least `recheck_after` after the run's last request.
            ending: the ending for the record: abandoned or cancelled.
            **about: more fields of `run.finished`.
        """
        self._final_fields = about
        self._control.ending = ending
        close_open(self.ledger, seen, self._control.context.settle.recheck_after, ending)
        return await self._carry_out(())

    async def _carry_out(self, steps: Sequence[AnyPlanned]) -> RunResult:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._control.workspace.breaker.run)
                group.start_soon(self._time_out)
                self._record_missing_answers()
                self._remaining = steps
                self._control.count_failures()
                if self._control.ending is Ending.MAX_FAILURES:
                    await self._drain_in_flight(steps)
                while self._remaining and self._control.ending is None:
                    step, *self._remaining = self._remaining
                    await self._run_step(step)
                result = await self._finish_run()
                group.cancel_scope.cancel()
        except* AuditError as errors:
            result = RunResult(Ending.LOG_FAILED, Exit.ENDED_EARLY, _first_error(errors))
        return result

    def _record_missing_answers(self) -> None:
        """Record an unknown answer for every intent without an answer: the process died in between."""
        for job in self.ledger.jobs:
            if job.phase is RequestPhase.UNANSWERED:
                self.ledger.record_unanswered(job, "the process ended before the answer was on record")

    async def _drain_in_flight(self, steps: Sequence[AnyPlanned]) -> None:
        """Watch requests sent by an earlier part of a run already ended by too many failures."""
        for step in steps:
            if isinstance(step, PlannedStep):
                await roll_out(self._control, step)

    async def _time_out(self) -> None:
        await anyio.sleep(self._control.context.settle.whole_run)
        self._control.halt(Ending.TIMED_OUT)

    async def _run_step(self, step: AnyPlanned) -> None:
        if isinstance(step, PlannedStep):
            if not self._has_later_begun():  # otherwise decided in an earlier part of the run
                self._control.count_failures(step)
            await roll_out(self._control, step)
            if self._remaining:
                await self._check_on_failure(step)
        elif step.name not in self._control.passed:
            if isinstance(step, Question) and self._has_nothing_to_follow():
                step = Message(step.name, f"not asked, since nothing is left to do after it: {step.question}")
            if isinstance(step, Question):
                await self._request_approval(step)
                self._check_freeze_ahead()
            else:
                await post_message(self._control, step)

    async def _request_approval(self, step: Question) -> None:
        """Request an approval; meanwhile other runs may act on CVMs of later steps only."""
        if self._claim is None:
            await request_approval(self._control, step, self._approver)
            return
        later = {each.name for each in self._remaining}
        self._claim.keep_only([job.ref for job in self.ledger.jobs if job.step not in later])
        await request_approval(self._control, step, self._approver)
        if self._control.ending is None:
            with self._control.interruptible_wait():
                if await self._claim.claim_again():
                    await self._control.refresh_statuses(self._control.jobs)

    def _check_freeze_ahead(self) -> None:
        """End the run after a question if a freeze forbids the next step with targets."""
        for step in self._remaining:
            jobs = self._control.jobs_of_step(step.name)
            if isinstance(step, PlannedStep) and any(job.outcome is None for job in jobs):
                self._control.check_freeze(step, jobs)
                return

    def _has_nothing_to_follow(self) -> bool:
        """Whether no step after a question has a CVM to act on, so the answer changes nothing."""
        acting = [step for step in self._remaining if isinstance(step, PlannedStep)]
        if not acting or len(acting) < len(self._remaining):
            return False
        sources = {
            step.follows.step for step in acting if step.follows is not None and step.name not in self._control.passed
        }
        names = {step.name for step in acting}
        return not any(job.step in sources or (job.step in names and job.outcome is None) for job in self.ledger.jobs)

    async def _check_on_failure(self, step: PlannedStep) -> None:
        """End the run before the next step if a target failed in a step with `on_failure: stop`.

        First the status of every settled CVM of these steps is read once more. There is no check once a later step
        has begun, also in an earlier part of the run: the decision was made then.
        """
        if step.on_failure == "stop":
            self._stop_on_failure_steps.append(step.name)
        if (
            not self._stop_on_failure_steps
            or self._control.ending is not None
            or self._has_later_begun()
            or not self._has_work_ahead()
        ):
            return
        jobs = [job for name in self._stop_on_failure_steps for job in self._control.jobs_of_step(name)]
        await self._control.verify_settled(jobs)
        if any(job.outcome in ENDS_THE_RUN and not job.is_superseded for job in jobs):
            self._control.halt(Ending.STEP_FAILED)

    def _has_later_begun(self) -> bool:
        later = {step.name for step in self._remaining}
        return bool(later & self._control.passed) or any(job.attempts for job in self.ledger.jobs if job.step in later)

    def _has_work_ahead(self) -> bool:
        """Whether the remaining steps have any target or question."""
        later = {step.name for step in self._remaining}
        return any(job.step in later and job.outcome is None for job in self.ledger.jobs) or any(
            isinstance(step, Question)
            or (
                isinstance(step, PlannedStep)
                and step.follows is not None
                and bool(follow_up_sources(step.follows, self.ledger.jobs))
            )
            for step in self._remaining
            if step.name not in self._control.passed
        )

    def _exit_code(self, ending: Ending) -> Exit:
        sent = bool(self.ledger.sent)
        return exit_code(ending, self.ledger.counts, anything_sent=sent, left_alone=self._left_alone)

    async def _finish_run(self) -> RunResult:
        control = self._control
        unconfirmed: list[Job] = []
        if not (control.ending or Ending.COMPLETED).resumable:
            unconfirmed = await control.verify_settled(self.ledger.jobs)
        ending = control.ending or Ending.COMPLETED
        left = [job for job in self.ledger.jobs if job.outcome is None]
        is_all_sent = all(job.is_under_way for job in left) and not control.cut_short
        if ending in _FOR_FAILURES and is_all_sent and not self._has_work_ahead():
            ending = control.cut_by or Ending.COMPLETED
        if ending.resumable:
            code = self._exit_code(ending)
            self.ledger.record_run_event(
                Event.RUN_INTERRUPTED, reason=ending.value, open=len(left), exit_code=int(code)
            )
        else:
            self._end_open_jobs(ending, left, unconfirmed)
            if self._before_finish is not None and control.cut_by is None and ending is not Ending.CANCELLED:
                await self._before_finish()
            code = self._exit_code(ending)
            more = dict(self._final_fields)
            if self._deadline is not None:
                more["deadline"] = self._deadline.check_jobs(self.ledger.jobs)
            if control.frozen_by is not None:
                more["freeze"] = control.frozen_by
            if control.cut_by is not None:
                more["cut_short_by"] = control.cut_by.value
            self.ledger.record_run_event(Event.RUN_FINISHED, ending=ending.value, exit_code=int(code), **more)
        await self.ledger.flush()
        return RunResult(ending, code)

    def _end_open_jobs(self, ending: Ending, left: Sequence[Job], unconfirmed: Sequence[Job]) -> None:
        """Give an outcome to the open targets of a run without a later `resume`."""
        why = "the run ended" if self._control.cut_by is None else _WHY_CUT[self._control.cut_by]
        for job in unconfirmed:
            leave_unconfirmed(self.ledger, job, f"{why} before its status was read once more")
        for job in left:
            goal = "running" if job.action.leaves_running else "down"
            if job.is_accepted:
                self.ledger.record_outcome(job, Outcome.UNSETTLED, f"{why} before it was seen {goal}")
            elif job.is_in_doubt:
                words = f"{why} before a status showed whether its {job.action} had an effect"
                self.ledger.record_outcome(job, Outcome.UNSETTLED, words)
            elif job.billed:  # the shutdown was accepted, and the planned stop was never sent
                self.ledger.record_outcome(job, Outcome.UNSETTLED, "the run ended before the force-stop")
            else:
                reason = replace(_WHY_NOT_SENT[ending], detail=self._control.frozen_by or "")
                self.ledger.record_unsent(job, Outcome.NOT_SENT, reason)

    async def _abort_run(self) -> None:
        """Record the interruption of a cancelled run, so the log stays whole and `resume` can continue."""
        ending = self._control.ending or Ending.SIGINT
        with anyio.CancelScope(shield=True):
            open_jobs = sum(job.outcome is None for job in self.ledger.jobs)
            with suppress(AuditError):  # The log can't be written: no last record.
                self.ledger.record_run_event(Event.RUN_INTERRUPTED, reason=ending.value, open=open_jobs, at_once=True)
                await self.ledger.flush()

    def apply_statuses(self, fresh: Mapping[str, Observation]) -> None:
        """Apply fresh statuses to the unsent targets; end targets already in the wanted state."""
        self._control.apply_statuses(fresh)


def _first_error(group: BaseExceptionGroup[AuditError]) -> AuditError:
    error = group.exceptions[0]
    return error if isinstance(error, AuditError) else _first_error(error)


async def roll_out(control: RunControl, step: PlannedStep) -> None:
    """Carry out the open targets of a step.

    Raises:
        AuditError: when the audit log can't be written.
    """
    if step.follows is not None and step.name not in control.passed and control.ending is None:
        await plan_follow_up(control, step, step.follows)
    jobs = control.jobs_of_step(step.name)
    context, limits = control.context, step.limits.within(control.context.limits)
    with control.workspace.gate.limited_to(limits.max_in_flight, step.limits.requests_per_second, limits.adaptive):
        begun = context.clock.now()
        numbers = sorted({job.wave for job in jobs})
        for number in numbers:
            wave = [job for job in jobs if job.wave == number]
            if control.ending is None and context.clock.now() - begun > context.settle.refresh_after:
                await control.refresh_statuses(wave)
            control.check_freeze(step, wave)
            if control.ending in {None, Ending.MAX_FAILURES, Ending.FROZEN} and control.cut_by is None:
                await _carry_out(control, step, limits, wave)
            if control.ending is None and number != numbers[-1]:
                await _check_waves(control, step, jobs, number)


async def _carry_out(control: RunControl, step: PlannedStep, limits: RunLimits, jobs: Sequence[Job]) -> None:
    ended = control.ending is not None  # decided in an earlier part of the run: only watch the requests already sent
    open_jobs = [job for job in jobs if job.outcome is None and (job.is_under_way or not ended)]
    if not open_jobs:
        return
    control.wave = wave = Wave(control.context, control.workspace, step, limits, control)
    if ended:
        wave.halt(at_once=True, stop_watching=False)
    await wave.run(open_jobs)
    control.cut_short = control.cut_short or wave.cut_short
    control.wave = None


async def _check_waves(control: RunControl, step: PlannedStep, jobs: Sequence[Job], number: int) -> None:
    """Check the finished waves before the next wave; end the run after a failure.

    A failure in the canary ends the run. With `on_failure: stop`, a failure in any wave ends the run. First the status
    of every settled CVM so far is read once more. There is no check once a later wave has begun, also in an earlier
    part of the run: the decision was made then.
    """
    ahead = [job for job in jobs if job.wave > number]
    if any(job.attempts for job in ahead) or all(job.outcome is not None for job in ahead):
        return
    behind = [job for job in jobs if job.wave <= number]
    await _wait_for_soak(control, step, number, begun=any(job.attempts for job in behind))
    await control.verify_settled(behind)
    if control.ending is not None:
        return
    control.count_failures(step)  # CVMs running again count as failures too
    wrong = {job.wave for job in behind if job.outcome in ENDS_THE_RUN and not job.is_superseded}
    if min(job.wave for job in jobs) in wrong:
        control.halt(Ending.CANARY_FAILED)
    elif wrong and step.on_failure == "stop":
        control.halt(Ending.STEP_FAILED)


async def _wait_for_soak(control: RunControl, step: PlannedStep, number: int, *, begun: bool) -> None:
    """Wait for the soak time after a wave; a resumed run waits for the rest of the soak time."""
    if step.soak is None or not begun or control.ending is not None:
        return
    clock, ledger, wave = control.context.clock, control.context.ledger, (step.name, number)
    if wave not in control.soaks:
        control.soaks[wave] = clock.wall() + timedelta(seconds=step.soak)
        ledger.record_step_event(Event.WAVE_SOAKING, step.name, wave=number, until=timestamp(control.soaks[wave]))
        await ledger.flush()
    left = (control.soaks[wave] - clock.wall()).total_seconds()
    with control.interruptible_wait(min(step.soak, left), is_idle=True):
        await anyio.sleep_forever()
