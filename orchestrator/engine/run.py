"""A run: its steps one after the other, the sweep at the end, and the last word in the audit trail."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

import anyio

from orchestrator.action import Action, is_as_wanted
from orchestrator.engine.breaker import Breaker
from orchestrator.engine.dispatch import Dispatcher
from orchestrator.engine.gate import Gate
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.outbox import Outbox
from orchestrator.engine.pace import Pace
from orchestrator.engine.protocols import AuditSink, Clock, Cloud
from orchestrator.engine.status import Seen, StatusReader
from orchestrator.engine.sweep import sweep
from orchestrator.engine.watch import Watcher
from orchestrator.engine.work import Work
from orchestrator.errors import AuditError
from orchestrator.outcome import ENDS_THE_RUN, Ending, Exit, Outcome, exit_code
from orchestrator.playbook.plan import MOST_AT_ONCE, PlannedStep, RunLimits

_INTERRUPTIONS = frozenset({Ending.SIGINT, Ending.SIGTERM})
"""A person's word goes before every other reason to end."""

_WHY_NOT_SENT = {
    Ending.MAX_FAILURES: "the run ended early: more targets failed than max_failures allows",
    Ending.STEP_FAILED: "the run ended early: a step with `on_failure: stop` did not end as wanted",
}
"""The endings of a run's own making, which leave the rest unsent for good."""

_NO_USE_IN_WATCHING = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class SettleSettings:
    """How the watch goes about it, and when a run as a whole is given up; all in seconds but the batch size.

    Attributes:
        recheck_after: by how much reads may lag an operation.
        poll_min: no two rounds are closer.
        poll_max: no two rounds are further apart.
        batch_size: how many statuses one request asks for at the most.
        batch_missing: whether the server is known to have no such request.
        cloud_down: how long the API may be down as a whole before the run is ended.
        whole_run: how long a run may take at all.
    """

    recheck_after: float = 2.0
    poll_min: float = 0.2
    poll_max: float = 15.0
    batch_size: int = 1000
    batch_missing: bool = False
    cloud_down: float = 600.0
    whole_run: float = 86_400.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        ending: why it came to its end.
        exit_code: what the command exits with.
        error: the fault of the audit log, when that ended it.
    """

    ending: Ending
    exit_code: Exit
    error: AuditError | None = None


class Run:
    """Carries out the steps of one plan.

    Attributes:
        ledger: what happened to every target.
        reader: reads statuses.
    """

    def __init__(
        self,
        works: Sequence[Work],
        *,
        cloud: Cloud,
        sink: AuditSink,
        clock: Clock,
        gate: Gate,
        limits: RunLimits,
        settle: SettleSettings,
        rng: Random,
        workspace_size: int = 0,
        requests: int = 0,
    ) -> None:
        """Set up.

        Args:
            works: every target of the run, in the order of its steps; those with an outcome count as done.
            cloud: where requests go.
            sink: where the trail goes.
            clock: what is measured and written down by.
            gate: what every request passes.
            limits: how fast and how wide.
            settle: how the watch goes about it.
            rng: the jitter.
            workspace_size: how many CVMs the list has; 0 when it was not read.
            requests: how many requests that change something were announced in earlier parts of the run.
        """
        self.ledger = Ledger(works, sink, clock, requests)
        self._breaker = Breaker(
            gate,
            clock,
            lambda: cloud.list_page(1, 1),
            give_up_after=settle.cloud_down,
            gave_up=lambda: self._halt(Ending.CLOUD_DOWN),
        )
        self.reader = StatusReader(
            cloud=cloud,
            gate=gate,
            clock=clock,
            rng=rng,
            batch_size=settle.batch_size,
            batch_missing=settle.batch_missing,
            key_refused=lambda: self._halt(Ending.KEY_REFUSED),
            heard=self._breaker.heard,
        )
        self.reader.known_size(workspace_size)
        self._cloud, self._clock, self._gate, self._rng = cloud, clock, gate, rng
        self._limits, self._settle = limits, settle
        self._ending: Ending | None = None
        self._dispatcher: Dispatcher | None = None
        self._watching = anyio.CancelScope()

    def interrupt(self, ending: Ending) -> None:
        """Send nothing more, watch what was sent to its end, and leave the rest to a later `resume`."""
        self._halt(ending)

    async def __call__(self, steps: Sequence[PlannedStep]) -> RunResult:
        """Carry the steps out, in order."""
        try:
            return await self._carry_out(steps)
        except anyio.get_cancelled_exc_class():
            await self._leave_at_once()
            raise

    async def _carry_out(self, steps: Sequence[PlannedStep]) -> RunResult:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._breaker.run)
                group.start_soon(self._time_out)
                self._answer_for_the_dead()
                self._count_failures()
                for number, step in enumerate(steps, start=1):
                    if self._ending is None:
                        await self._step(step)
                        await self._hold_to(step, {later.name for later in steps[number:]})
                result = await self._conclude()
                group.cancel_scope.cancel()
        except* AuditError as errors:
            result = RunResult(Ending.LOG_FAILED, Exit.ENDED_EARLY, _first(errors))
        return result

    def _answer_for_the_dead(self) -> None:
        """Every intent has its answer, also where the process died between the two."""
        for work in self.ledger.works:
            if work.unanswered:
                self.ledger.cut_off(work, "the process ended before the answer was on record")

    async def _time_out(self) -> None:
        await anyio.sleep(self._settle.whole_run)
        self._halt(Ending.TIMED_OUT)

    async def _step(self, step: PlannedStep) -> None:
        works = [work for work in self.ledger.works if work.step == step.name and work.outcome is None]
        outbox = Outbox(
            ledger=self.ledger,
            clock=self._clock,
            per_teepod=self._limits.per_teepod,
            at_once=MOST_AT_ONCE if self._limits.dispatch == "batch" and step.action is Action.STOP else 1,
            patience=step.settle_timeout,
            failed=self._count_failures,
        )
        dispatcher = self._dispatcher = Dispatcher(
            cloud=self._cloud,
            gate=self._gate,
            ledger=self.ledger,
            clock=self._clock,
            rng=self._rng,
            outbox=outbox,
            max_in_flight=self._limits.max_in_flight,
            watch=lambda work, accepted: watcher.add(work, accepted=accepted),
            key_refused=lambda: self._halt(Ending.KEY_REFUSED),
            heard=self._breaker.heard,
        )

        def resolved(work: Work, again: bool) -> None:  # noqa: FBT001 - the callback's one flag
            if again:
                outbox.again(work)
            else:
                outbox.taken()
            dispatcher.wake()

        watcher = Watcher(
            reader=self.reader,
            ledger=self.ledger,
            clock=self._clock,
            pace=Pace(self._settle.poll_min, self._settle.poll_max, self._gate.gcra),
            timeout=step.settle_timeout,
            recheck_after=self._settle.recheck_after,
            unsent=lambda: outbox.unsent,
            resolved=resolved,
            failed=self._count_failures,
        )
        for work in sorted(works, key=lambda work: work.singly):  # the batches first, and none cut short
            if work.accepted:
                watcher.add(work, accepted=True, since=work.accepted_at)
            elif work.in_doubt:
                outbox.expect()
                watcher.add(work, accepted=False)
            else:
                outbox.add(work)
        self._watching = anyio.CancelScope()
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, watcher)
            await dispatcher.run()
            watcher.close()

    async def _watch(self, watcher: Watcher) -> None:
        with self._watching:
            await watcher.run()

    async def _hold_to(self, step: PlannedStep, later: Collection[str]) -> None:
        """After a step with `on_failure: stop`: end the run where one of its targets did not end as wanted.

        A CVM that was settled is looked at once more first. Once a later step has begun, also in an earlier part of
        the run, this was decided.
        """
        ahead = [work for work in self.ledger.works if work.step in later]
        begun = any(work.attempts for work in ahead)
        if (
            step.on_failure != "stop"
            or self._ending is not None
            or begun
            or all(work.outcome is not None for work in ahead)
        ):
            return
        works = [work for work in self.ledger.works if work.step == step.name]
        await self._sweep(works)
        if any(work.outcome in ENDS_THE_RUN for work in works):
            self._halt(Ending.STEP_FAILED)

    async def _sweep(self, works: Sequence[Work]) -> None:
        with anyio.CancelScope() as self._watching:
            await sweep(self.reader, self.ledger, works, self._clock, self._settle.recheck_after)

    def _halt(self, ending: Ending) -> None:
        if self._ending is None or (ending in _INTERRUPTIONS and self._ending not in _INTERRUPTIONS):
            self._ending = ending
        if self._dispatcher is not None:
            self._dispatcher.halt(at_once=ending is Ending.KEY_REFUSED)
        if ending in _NO_USE_IN_WATCHING:
            self._watching.cancel()

    def _count_failures(self) -> None:
        limit = self._limits.max_failures
        if limit is not None and self.ledger.failures > limit.of(len(self.ledger.works)):
            self._halt(Ending.MAX_FAILURES)

    async def _conclude(self) -> RunResult:
        ending = self._ending or Ending.COMPLETED
        if not ending.resumable:
            await self._sweep(self.ledger.works)
            ending = self._ending or Ending.COMPLETED
        not_sent = [work for work in self.ledger.works if work.outcome is None]
        if ending in _WHY_NOT_SENT and not not_sent:
            ending = Ending.COMPLETED
        code = exit_code(ending, self.ledger.counts, anything_sent=bool(self.ledger.sent))
        if ending.resumable:
            self.ledger.run_event("run.interrupted", reason=ending.value, open=len(not_sent), exit_code=int(code))
        else:
            for work in not_sent:
                self.ledger.ended(work, Outcome.NOT_SENT, _WHY_NOT_SENT[ending])
            self.ledger.run_event("run.finished", ending=ending.value, exit_code=int(code))
        await self.ledger.flush()
        return RunResult(ending, code)

    async def _leave_at_once(self) -> None:
        """The last word of a run that is not let finish: the log stays whole, and `resume` can take it up."""
        ending = self._ending or Ending.SIGINT
        with anyio.CancelScope(shield=True):
            open_works = sum(work.outcome is None for work in self.ledger.works)
            with suppress(AuditError):  # A log that can't be written has had its last word.
                self.ledger.run_event("run.interrupted", reason=ending.value, open=open_works, at_once=True)
                await self.ledger.flush()

    def take_in(self, fresh: Mapping[str, Seen]) -> None:
        """Take fresh readings into account before anything is sent: what is as wanted already is left alone."""
        for work in self.ledger.works:
            seen = fresh.get(work.ref.key)
            if seen is None or work.outcome is not None or work.accepted or work.in_doubt:
                continue
            if seen.read is None:
                self.ledger.ended(work, work.if_deleted, "no such CVM any more: it was deleted meanwhile")
            elif is_as_wanted(work.action, seen.read.status, in_progress=seen.read.in_progress):
                self.ledger.status(work, seen.read)
                self.ledger.ended(work, Outcome.SKIPPED, f"already {seen.read.status} when its turn came")
            elif work.action is Action.RESTART and seen.read.down:
                self.ledger.status(work, seen.read)
                self.ledger.ended(work, Outcome.FAILED, f"{seen.read.status} when its turn came, so not restarted")


def _first(group: BaseExceptionGroup[AuditError]) -> AuditError:
    error = group.exceptions[0]
    return error if isinstance(error, AuditError) else _first(error)
