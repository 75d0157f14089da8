"""Control of a run: ending, finished steps, interruptible waits, reads of statuses between steps and at the end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio

from orchestrator.action import is_as_wanted
from orchestrator.engine.context import EarlierProgress, RunContext
from orchestrator.engine.job import Job
from orchestrator.engine.rate.gate import LONG_PAUSE
from orchestrator.engine.read.status import Observation
from orchestrator.engine.send.ledger import Ledger
from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_settled_status
from orchestrator.engine.wave import Wave
from orchestrator.engine.workspace import Workspace
from orchestrator.outcome import Ending, Outcome, SkipReason
from orchestrator.playbook.resolved_steps import PlannedStep

_INTERRUPTIONS = frozenset({Ending.SIGINT, Ending.SIGTERM})
"""Interruptions by a person; these endings replace every other ending."""

_BY_A_PERSON = _INTERRUPTIONS | {Ending.CANCELLED}

_NO_USE_IN_WATCHING = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT})
"""Endings that stop the watcher as well: CVMs with a sent request are not watched to the end."""

_ROUNDS = 10
"""Reads of a CVM in an intermediate status before the target counts as unsettled."""
_ROUNDS_UNREAD = 60
"""Reads of a CVM with an unreadable status; an outage of the API ends the run earlier."""


class RunControl:
    """State shared by the steps of a run.

    Attributes:
        context: ledger, clock, limits and settings of the run.
        workspace: cloud, gate, status reader and circuit breaker.
        passed: names of the steps with a recorded result; these steps are not carried out again.
        ending: why the run is to end; None while the run continues.
        cut_by: the first resumable ending, which leaves all open work to a later `resume`; None before. Set also
            when the run already had another ending. From then on, the run waits only for a wave's watcher.
        cut_short: whether a CVM was left running without its planned stop, because the run ended.
        wave: the wave in progress; None between waves.
        soaks: recorded end of the soak time, by step and wave number.
        frozen_by: the freeze that ended the run; None without such an end.
    """

    def __init__(self, context: RunContext, workspace: Workspace, earlier: EarlierProgress) -> None:
        self.context, self.workspace = context, workspace
        self.passed, self.soaks = set(earlier.passed), dict(earlier.soaks)
        self.ending: Ending | None = None
        self.cut_by: Ending | None = None
        self.cut_short = False
        self.frozen_by: str | None = None
        self.wave: Wave | None = None
        self._waits: dict[anyio.CancelScope, bool] = {}

    @property
    def jobs(self) -> list[Job]:
        """Every target of the run so far."""
        return self.context.ledger.jobs

    def jobs_of_step(self, name: str) -> list[Job]:
        """Targets of a step."""
        return [job for job in self.jobs if job.step == name]

    def halt(self, ending: Ending, *, at_once: bool = False) -> None:
        """End the run: send no more requests, and watch sent requests to the end if statuses can still be read.

        Args:
            ending: the reason.
            at_once: whether to leave sent requests unwatched.
        """
        if self.ending is None or (ending in _BY_A_PERSON and self.ending not in _BY_A_PERSON):
            self.ending = ending
        no_use = at_once or ending in _NO_USE_IN_WATCHING or (ending in _BY_A_PERSON and self._is_cut_off)
        if self.wave is not None:
            self.wave.halt(at_once=no_use, stop_watching=no_use, hurry=no_use and ending in _BY_A_PERSON)
        is_cut = ending.resumable or no_use
        if is_cut:
            self.cut_by = self.cut_by or ending
        for scope, is_idle in self._waits.items():
            if is_idle or is_cut:
                scope.cancel()

    @property
    def _is_cut_off(self) -> bool:
        """Whether statuses are unavailable for a while: the API is down, or asked for a long pause."""
        return self.workspace.breaker.opened_at is not None or self.workspace.gate.paused_for >= LONG_PAUSE

    def check_interruption(self) -> None:
        """Stop the watcher of an interrupted run if no status can be read for a while."""
        if self.ending in _BY_A_PERSON:
            self.halt(self.ending)

    @contextmanager
    def interruptible_wait(self, seconds: float = float("inf"), *, is_idle: bool = False) -> Iterator[None]:
        """Cancel the block once `cut_by` is set, or after a timeout; an idle block once the run has any ending.

        With `cut_by` set already, the block ends at its first await. Every wait of a run outside a wave uses this
        block.

        Args:
            seconds: the timeout.
            is_idle: whether the block only waits for a time or a person; only a fleet run ends such a run early.
        """
        with anyio.move_on_after(seconds) as scope:
            self._waits[scope] = is_idle
            if self.cut_by is not None:
                scope.cancel()
            try:
                yield
            finally:
                del self._waits[scope]

    def count_failures(self, step: PlannedStep | None = None) -> None:
        """End the run if the failures exceed the limit of the run, or of this step."""
        ledger, limit = self.context.ledger, self.context.limits.max_failures
        if limit is not None and ledger.failure_count > limit.of(len({job.ref.key for job in self.jobs})):
            self.halt(Ending.MAX_FAILURES)
        own = step.limits.max_failures if step is not None else None
        if (
            step is not None
            and own is not None
            and ledger.failure_count_of(step.name) > own.of(len(self.jobs_of_step(step.name)))
        ):
            self.halt(Ending.MAX_FAILURES)

    def check_freeze(self, step: PlannedStep, jobs: Iterable[Job]) -> None:
        """End the run if a freeze forbids the requests of these targets now. A wave in progress is not checked."""
        freeze = self.context.freeze
        if freeze is None or step.action.starts_cvms or self.ending is not None:
            return
        if any(job.outcome is None and not job.is_under_way for job in jobs):
            self.frozen_by = freeze.find_freeze(self.context.clock.wall())
            if self.frozen_by is not None:
                self.halt(Ending.FROZEN)

    async def verify_settled(self, jobs: Sequence[Job]) -> list[Job]:
        """Read the status of these targets' settled CVMs once more, except targets superseded by a later step.

        A stopped CVM that was deleted meanwhile stays settled: the CVM is down for good.

        Returns:
            The targets left without confirmation, because the run was cut short.
        """
        last_words = [job for job in jobs if not job.is_superseded]
        unconfirmed = {job.ref.key: job for job in last_words if job.outcome is Outcome.SETTLED}
        with self.interruptible_wait():
            await self._confirm_settled(unconfirmed)
        return [*unconfirmed.values()]

    async def _confirm_settled(self, open_jobs: dict[str, Job]) -> None:
        """Read settled targets once more, until all targets are confirmed or have another outcome.

        Args:
            open_jobs: targets by the key of the CVM. A confirmed target, or a target with another outcome, is removed;
                after a cancellation, the unconfirmed targets are left.

        Raises:
            AuditError: when the audit log can't be written.
        """
        ledger, clock, recheck_after = self.context.ledger, self.context.clock, self.context.settle.recheck_after
        watched: dict[str, WatchState] = {}
        for number in range(_ROUNDS_UNREAD):
            if number:
                await anyio.sleep(recheck_after)
            seen = await self.workspace.reader.read_statuses([job.ref for job in open_jobs.values()])
            for key, each in seen.items():
                job = open_jobs[key]
                if each.read is None:
                    _record_deletion(ledger, job)
                    del open_jobs[key]
                    continue
                ledger.record_status(job, each.read)
                doubt = watched.setdefault(
                    key, WatchState(job.before, clock.now(), float("inf"), is_accepted=True, action=job.action)
                )
                finding = evaluate_settled_status(doubt, each.read, each.begun, recheck_after)
                if finding in {Finding.CAME_UP, Finding.WENT_DOWN}:
                    _record_change(ledger, job, each.read.status)
                elif finding is Finding.PENDING and number >= _ROUNDS:
                    reason = f"{_describe_seen(job)}, but read once more its status is {each.read.status!r}"
                    ledger.record_outcome(job, Outcome.UNSETTLED, reason)
                    finding = Finding.SETTLED
                if finding is not Finding.PENDING:
                    del open_jobs[key]
            await ledger.flush()
            if not open_jobs:
                return
        for job in open_jobs.values():
            leave_unconfirmed(ledger, job, "its status can't be read once more")
        open_jobs.clear()

    async def refresh_statuses(self, jobs: Iterable[Job]) -> None:
        """Read the statuses of the open targets again: the known statuses may be old."""
        refs = [job.ref for job in jobs if job.outcome is None]
        if refs:
            with self.interruptible_wait():
                self.apply_statuses(await self.workspace.reader.read_statuses(refs))
            await self.context.ledger.flush()

    def apply_statuses(self, fresh: Mapping[str, Observation]) -> None:
        """Apply fresh statuses to the unsent targets; end targets already in the wanted state."""
        ledger = self.context.ledger
        for job in self.jobs:
            seen = fresh.get(job.ref.key)
            if job.outcome is not None or job.is_accepted or job.is_in_doubt:
                continue
            if seen is None:
                if job.withheld is not None:
                    ledger.end_withheld(job, job.withheld)
            elif seen.read is None:
                ledger.record_outcome(job, job.outcome_if_deleted, "no such CVM any more: it was deleted meanwhile")
            elif is_as_wanted(job.action, seen.read.status, in_progress=seen.read.in_progress):
                ledger.record_status(job, seen.read)
                if job.billed:  # the shutdown brought the CVM down, before the planned stop
                    ledger.record_outcome(job, Outcome.SETTLED)
                else:
                    up = job.action.leaves_running
                    code = SkipReason.ALREADY_UP if up else SkipReason.ALREADY_DOWN
                    text = f"already {seen.read.status} when its turn came"
                    ledger.record_outcome(job, Outcome.SKIPPED, text, code=code)
            elif job.withheld is not None:
                ledger.record_status(job, seen.read)
                ledger.end_withheld(job, job.withheld)
            elif job.action.restarts_cvms and seen.read.down:
                ledger.record_status(job, seen.read)
                ledger.record_outcome(job, Outcome.FAILED, f"{seen.read.status} when its turn came, so not restarted")


def leave_unconfirmed(ledger: Ledger, job: Job, reason: str) -> None:
    """Record a settled target as unsettled, because its status could not be read once more."""
    ledger.record_outcome(job, Outcome.UNSETTLED, f"{_describe_seen(job)}, but {reason}")


def _record_deletion(ledger: Ledger, job: Job) -> None:
    if job.action.leaves_running:
        ledger.record_outcome(job, job.outcome_if_deleted, "it was seen running, and was deleted later")


def _record_change(ledger: Ledger, job: Job, status: str) -> None:
    reason = f"{_describe_seen(job)}, and read once more its status is {status!r} again"
    ledger.record_outcome(job, Outcome.FAILED if job.action.leaves_running else Outcome.RESURRECTED, reason)


def _describe_seen(job: Job) -> str:
    return "it was seen running" if job.action.leaves_running else "it was seen down"
