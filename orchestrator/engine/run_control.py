"""The course of a run: whether it goes on, which steps are behind it, and what is looked at before the next one."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import anyio

from orchestrator.action import Action, is_as_wanted
from orchestrator.engine.job import Job
from orchestrator.engine.rate.gate import LONG_PAUSE
from orchestrator.engine.read.status import Observation
from orchestrator.engine.watch.verify import sweep
from orchestrator.engine.wave import Line, Wave
from orchestrator.outcome import Ending, Outcome
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits
from orchestrator.skip_reason import SkipReason

_INTERRUPTIONS = frozenset({Ending.SIGINT, Ending.SIGTERM})
"""A person's word goes before every other reason to end."""

_NO_USE_IN_WATCHING = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT})
"""Endings after which a CVM that was sent its request is not watched any longer either."""


class RunControl:
    """What the steps of a run share.

    Attributes:
        line: what they work with.
        limits: how fast and how wide the run may go.
        passed: the steps that need not be gone through again, since the trail says what they came to.
        ending: why the run is to end; None while it goes on.
        cut_by: the first ending that leaves everything else to a later `resume`, also where an earlier ending of the
            run's own making stands; None before one. Nothing but a wave's watch is waited for from then on.
        cut_short: whether a CVM was left up whose power was to be pulled, since the run came to its end.
        wave: what is being sent and watched right now; None in between.
        soaks: until when the run waits after a wave, by step and number, as far as that was put on record.
    """

    def __init__(
        self,
        line: Line,
        limits: RunLimits,
        passed: Collection[str],
        soaks: Mapping[tuple[str, int], datetime] | None = None,
    ) -> None:
        self.line, self.limits, self.passed = line, limits, set(passed)
        self.soaks = dict(soaks or {})
        self.ending: Ending | None = None
        self.cut_by: Ending | None = None
        self.cut_short = False
        self.wave: Wave | None = None
        self._waits: set[anyio.CancelScope] = set()

    @property
    def jobs(self) -> list[Job]:
        """Every target of the run so far."""
        return self.line.ledger.jobs

    def of_step(self, name: str) -> list[Job]:
        """The targets of one step."""
        return [work for work in self.jobs if work.step == name]

    def halt(self, ending: Ending) -> None:
        """Send nothing more; what was sent is watched to its end, unless there is no use in that."""
        if self.ending is None or (ending in _INTERRUPTIONS and self.ending not in _INTERRUPTIONS):
            self.ending = ending
        no_use = ending in _NO_USE_IN_WATCHING or (ending in _INTERRUPTIONS and self._is_cut_off)
        if self.wave is not None:
            self.wave.halt(at_once=no_use, stop_watching=no_use, hurry=no_use and ending in _INTERRUPTIONS)
        if ending.resumable:
            self.cut_by = self.cut_by or ending
            for scope in self._waits:
                scope.cancel()

    @property
    def _is_cut_off(self) -> bool:
        """Whether no status can be read for a while: the API is down, or asked to wait for long."""
        return self.line.breaker.opened_at is not None or self.line.gate.paused_for >= LONG_PAUSE

    def check_interruption(self) -> None:
        """Stop watching after an interruption where no status can be read for a while."""
        if self.ending in _INTERRUPTIONS:
            self.halt(self.ending)

    @contextmanager
    def wait(self, seconds: float = float("inf")) -> Iterator[None]:
        """Leave the block once `cut_by` is set, at its first await where that is so already.

        Every wait of a run outside a wave stands in such a block.

        Args:
            seconds: the longest time to stay in the block.
        """
        with anyio.move_on_after(seconds) as scope:
            self._waits.add(scope)
            if self.cut_by is not None:
                scope.cancel()
            try:
                yield
            finally:
                self._waits.discard(scope)

    def count_failures(self, step: PlannedStep | None = None, targets: int = 0) -> None:
        """End the run where more targets failed than its limits allow, or those of a step with so many targets."""
        ledger, limit = self.line.ledger, self.limits.max_failures
        if limit is not None and ledger.failures > limit.of(len({work.ref.key for work in self.jobs})):
            self.halt(Ending.MAX_FAILURES)
        own = step.limits.max_failures if step is not None else None
        if step is not None and own is not None and ledger.failures_of(step.name) > own.of(targets):
            self.halt(Ending.MAX_FAILURES)

    async def sweep(self, jobs: Sequence[Job]) -> list[Job]:
        """Read every settled one of these targets once more, unless a later step has taken it up.

        Returns:
            The targets that could not be confirmed, since the run was cut short.
        """
        line = self.line
        last_words = [work for work in jobs if not work.taken_up]
        unconfirmed = {work.ref.key: work for work in last_words if work.outcome is Outcome.SETTLED}
        with self.wait():
            await sweep(line.reader, line.ledger, unconfirmed, line.clock, line.settle.recheck_after)
        return [*unconfirmed.values()]

    async def look_again(self, jobs: Iterable[Job]) -> None:
        """Read the statuses of targets that wait for their turn: what was known of them may be old."""
        refs = [work.ref for work in jobs if work.outcome is None]
        if refs:
            with self.wait():
                self.take_in(await self.line.reader.read(refs))
            await self.line.ledger.flush()

    def take_in(self, fresh: Mapping[str, Observation]) -> None:
        """Take fresh readings into account before anything is sent: what is as wanted already is left alone."""
        ledger = self.line.ledger
        for work in self.jobs:
            seen = fresh.get(work.ref.key)
            if work.outcome is not None or work.accepted or work.in_doubt:
                continue
            if seen is None:
                if work.withheld is not None:
                    ledger.withheld(work, work.withheld)
            elif seen.read is None:
                ledger.ended(work, work.if_deleted, "no such CVM any more: it was deleted meanwhile")
            elif is_as_wanted(work.action, seen.read.status, in_progress=seen.read.in_progress):
                ledger.status(work, seen.read)
                if work.billed:  # its shutdown brought it down after all, before the stop that was to follow
                    ledger.ended(work, Outcome.SETTLED)
                else:
                    up = work.action.leaves_running
                    code = SkipReason.ALREADY_UP if up else SkipReason.ALREADY_DOWN
                    text = f"already {seen.read.status} when its turn came"
                    ledger.ended(work, Outcome.SKIPPED, text, code=code)
            elif work.withheld is not None:
                ledger.status(work, seen.read)
                ledger.withheld(work, work.withheld)
            elif work.action is Action.RESTART and seen.read.down:
                ledger.status(work, seen.read)
                ledger.ended(work, Outcome.FAILED, f"{seen.read.status} when its turn came, so not restarted")
