"""A run: its steps one after the other, the sweep at the end, and the last word in the audit trail."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random

import anyio

from orchestrator.action import Action, is_as_wanted
from orchestrator.engine.breaker import Breaker
from orchestrator.engine.gate import Gate
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.protocols import Answer, Approver, AuditSink, Clock, Cloud
from orchestrator.engine.status import Seen, StatusReader
from orchestrator.engine.sweep import sweep
from orchestrator.engine.wave import Line, SettleSettings, Wave
from orchestrator.engine.work import Work
from orchestrator.errors import AuditError
from orchestrator.moment import timestamp
from orchestrator.outcome import ENDS_THE_RUN, Ending, Exit, Outcome, exit_code
from orchestrator.playbook.order import rank
from orchestrator.playbook.planned import AnyPlanned, Follows, Message, PlannedStep, Question, RunLimits
from orchestrator.playbook.waves import wave_numbers

_INTERRUPTIONS = frozenset({Ending.SIGINT, Ending.SIGTERM})
"""A person's word goes before every other reason to end."""

_WHY_NOT_SENT = {
    Ending.MAX_FAILURES: "the run ended early: more targets failed than max_failures allows",
    Ending.STEP_FAILED: "the run ended early: a step with `on_failure: stop` did not end as wanted",
    Ending.CANARY_FAILED: "the run ended early: a CVM of the first wave, the canary, did not end as wanted",
    Ending.NOT_APPROVED: "the run ended early: a question was not answered with yes",
}
"""The endings of a run's own making, which leave the rest unsent for good."""

_NO_USE_IN_WATCHING = frozenset({Ending.KEY_REFUSED, Ending.CLOUD_DOWN, Ending.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Due:
    """By when every target is to be asked. Nothing is cut off by it.

    Attributes:
        seconds: from the run's start.
        at: the moment, by the engine's clock.
    """

    seconds: float
    at: float

    def verdict(self, works: Iterable[Work]) -> dict[str, object]:
        """Whether it was met: how many CVMs were first asked after it, or not at all although they were to be."""
        asked: dict[str, float] = {}
        for work in works:
            if work.first_sent is not None or work.outcome is Outcome.NOT_SENT:
                moment = float("inf") if work.first_sent is None else work.first_sent
                asked[work.ref.key] = min(moment, asked.get(work.ref.key, float("inf")))
        late = sum(moment > self.at for moment in asked.values())
        return {"seconds": self.seconds, "met": not late, "late": late}


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
        approver: Approver | None = None,
        passed: Collection[str] = (),
        refused: bool = False,
        due: Due | None = None,
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
            approver: where questions are answered; None where nobody can.
            passed: the steps that need not be gone through again, since the trail says what they came to: questions
                that were approved, messages that were sent, and steps that have taken up an earlier one's targets.
            refused: whether a question was answered with no in an earlier part of the run.
            due: by when every target is to be asked; None for no such moment.
        """
        self.ledger = Ledger(works, sink, clock, requests)
        breaker = Breaker(
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
            heard=breaker.heard,
        )
        self.reader.known_size(workspace_size)
        self._line = Line(cloud, gate, self.reader, breaker, self.ledger, clock, rng, settle)
        self._limits, self._approver, self._due = limits, approver, due
        self._passed = set(passed)
        self._undone: Sequence[AnyPlanned] = ()
        self._ending: Ending | None = Ending.NOT_APPROVED if refused else None
        self._wave: Wave | None = None
        self._waiting = anyio.CancelScope()
        self._asking = self._cut_short = False

    def interrupt(self, ending: Ending) -> None:
        """Send nothing more, watch what was sent to its end, and leave the rest to a later `resume`."""
        self._halt(ending)

    async def __call__(self, steps: Sequence[AnyPlanned]) -> RunResult:
        """Carry the steps out, in order."""
        try:
            return await self._carry_out(steps)
        except anyio.get_cancelled_exc_class():
            await self._leave_at_once()
            raise

    async def _carry_out(self, steps: Sequence[AnyPlanned]) -> RunResult:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._line.breaker.run)
                group.start_soon(self._time_out)
                self._answer_for_the_dead()
                self._undone = steps
                self._count_failures()
                while self._undone and self._ending is None:
                    step, *self._undone = self._undone
                    await self._go_through(step)
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
        await anyio.sleep(self._line.settle.whole_run)
        self._halt(Ending.TIMED_OUT)

    async def _go_through(self, step: AnyPlanned) -> None:
        if isinstance(step, PlannedStep):
            await self._act(step)
            await self._hold_to(step)
        elif step.name not in self._passed:
            if isinstance(step, Question) and self._nothing_follows():
                step = Message(step.name, f"not asked, since nothing is left to do after it: {step.question}")
            await (self._ask(step) if isinstance(step, Question) else self._tell(step))

    def _nothing_follows(self) -> bool:
        """Whether there are steps behind a question and none of them has a CVM, so that no answer changes anything."""
        acting = [step for step in self._undone if isinstance(step, PlannedStep)]
        if not acting or len(acting) < len(self._undone):
            return False
        sources = {step.follows.step for step in acting if step.follows is not None and step.name not in self._passed}
        names = {step.name for step in acting}
        return not any(
            work.step in sources or (work.step in names and work.outcome is None) for work in self.ledger.works
        )

    async def _tell(self, step: Message) -> None:
        """Put a message on record; whoever reads the trail as it is written passes it on."""
        self.ledger.about_step("notice", step.name, message=step.text)
        await self.ledger.flush()

    async def _ask(self, step: Question) -> None:
        """Wait for a person's answer; none in time is a refusal, and an interruption leaves the question open."""
        asked_at = self._line.clock.now()
        expires_at = self._line.clock.wall() + timedelta(seconds=step.timeout)
        self.ledger.about_step(
            "approval.requested", step.name, question=step.question, expires_at=timestamp(expires_at)
        )
        await self.ledger.flush()
        answer = await self._answer(step, expires_at)
        if answer is None and self._ending is not None:
            return
        said = "timed_out" if answer is None else "approved" if answer.approved else "refused"
        by, via = (None, None) if answer is None else (answer.by, answer.via)
        more = {} if answer is None or answer.comment is None else {"comment": answer.comment}
        self.ledger.about_step("approval.answered", step.name, answer=said, by=by, via=via, **more)
        await self.ledger.flush()
        if said != "approved":
            self._halt(Ending.NOT_APPROVED)
        elif self._line.clock.now() - asked_at > self._line.settle.look_again_after:
            await self._look_again(work for work in self.ledger.works if work.outcome is None)

    async def _answer(self, step: Question, expires_at: datetime) -> Answer | None:
        if self._approver is None or self._ending is not None:
            return None
        self._asking = True
        try:
            with anyio.move_on_after(step.timeout) as self._waiting:
                return await self._approver.answer(step.name, step.question, expires_at)
        finally:
            self._asking = False
        return None

    async def _act(self, step: PlannedStep) -> None:
        if step.follows is not None and step.name not in self._passed:
            await self._take_up(step, step.follows)
        works = [work for work in self.ledger.works if work.step == step.name]
        limits = step.limits.within(self._limits)
        with self._line.gate.held_to(limits.max_in_flight, step.limits.requests_per_second, limits.adaptive):
            begun = self._line.clock.now()
            for number in sorted({work.wave for work in works}):
                if self._ending is None and self._line.clock.now() - begun > self._line.settle.look_again_after:
                    await self._look_again(work for work in works if work.wave == number and work.outcome is None)
                if self._ending is None:
                    await self._carry_out_wave(step, limits, works, number)
                if self._ending is None:
                    await self._look_back(step, works, number)

    async def _carry_out_wave(self, step: PlannedStep, limits: RunLimits, works: Sequence[Work], number: int) -> None:
        open_works = [work for work in works if work.wave == number and work.outcome is None]
        if not open_works:
            return
        self._wave = Wave(
            self._line,
            step,
            limits,
            key_refused=lambda: self._halt(Ending.KEY_REFUSED),
            failed=partial(self._count_failures, step, len(works)),
            ending=lambda: self._ending,
        )
        await self._wave.run(open_works)
        self._cut_short = self._cut_short or self._wave.cut_short
        self._wave = None

    async def _look_back(self, step: PlannedStep, works: Sequence[Work], number: int) -> None:
        """Between two waves: end the run where the first one, the canary, or with `on_failure: stop` any, went wrong.

        What was settled is looked at once more first. Once a later wave has begun, also in an earlier part of the run,
        this was decided.
        """
        ahead = [work for work in works if work.wave > number]
        if any(work.attempts for work in ahead) or all(work.outcome is not None for work in ahead):
            return
        wave = [work for work in works if work.wave == number]
        await self._sweep(wave)
        if self._ending is not None:
            return
        self._count_failures(step, len(works))  # who came back counts as well
        if any(work.outcome in ENDS_THE_RUN for work in wave):
            canary = all(work.wave >= number for work in works)
            if canary or step.on_failure == "stop":
                self._halt(Ending.CANARY_FAILED if canary else Ending.STEP_FAILED)

    async def _take_up(self, step: PlannedStep, follows: Follows) -> None:
        """Choose the CVMs of a step that takes up what an earlier one left, by what is true of them now."""
        await self._sweep([work for work in self.ledger.works if work.step == follows.step])
        if self._ending is not None:
            return
        sources = self._sources(follows)
        works = _arranged(step, [source.followed_by(step) for source in sources])
        self.ledger.taken_up(step, sources, works)
        self._passed.add(step.name)
        await self.ledger.flush()
        await self._look_again(works)

    def _sources(self, follows: Follows) -> list[Work]:
        """The targets of an earlier step that a step takes up."""
        return [
            work
            for work in self.ledger.works
            if not work.taken_up and follows.takes_up(work.step, work.outcome, work.ref.key)
        ]

    async def _look_again(self, works: Iterable[Work]) -> None:
        """Read the statuses of targets that wait for their step: what was known of them may be old."""
        refs = [work.ref for work in works]
        if refs:
            self.take_in(await self.reader.read(refs))
            await self.ledger.flush()

    async def _hold_to(self, step: PlannedStep) -> None:
        """After a step with `on_failure: stop`: end the run where one of its targets did not end as wanted.

        A CVM that was settled is looked at once more first. Once a later step has begun, also in an earlier part of
        the run, this was decided.
        """
        if step.on_failure != "stop" or self._ending is not None or self._later_begun() or not self._anything_ahead():
            return
        works = [work for work in self.ledger.works if work.step == step.name]
        await self._sweep(works)
        if any(work.outcome in ENDS_THE_RUN and not work.taken_up for work in works):
            self._halt(Ending.STEP_FAILED)

    def _later_begun(self) -> bool:
        later = {step.name for step in self._undone}
        return bool(later & self._passed) or any(work.attempts for work in self.ledger.works if work.step in later)

    def _anything_ahead(self) -> bool:
        """Whether the steps that are not done yet have anything to do."""
        later = {step.name for step in self._undone}
        return any(work.step in later and work.outcome is None for work in self.ledger.works) or any(
            isinstance(step, Question)
            or (isinstance(step, PlannedStep) and step.follows is not None and bool(self._sources(step.follows)))
            for step in self._undone
            if step.name not in self._passed
        )

    async def _sweep(self, works: Sequence[Work]) -> None:
        with anyio.CancelScope() as self._waiting:
            works = [work for work in works if not work.taken_up]
            await sweep(self.reader, self.ledger, works, self._line.clock, self._line.settle.recheck_after)

    def _halt(self, ending: Ending) -> None:
        if self._ending is None or (ending in _INTERRUPTIONS and self._ending not in _INTERRUPTIONS):
            self._ending = ending
        if self._wave is not None:
            self._wave.halt(at_once=ending is Ending.KEY_REFUSED, stop_watching=ending in _NO_USE_IN_WATCHING)
        if self._asking or ending in _NO_USE_IN_WATCHING:
            self._waiting.cancel()

    def _count_failures(self, step: PlannedStep | None = None, targets: int = 0) -> None:
        limit = self._limits.max_failures
        if limit is not None and self.ledger.failures > limit.of(len({work.ref.key for work in self.ledger.works})):
            self._halt(Ending.MAX_FAILURES)
        own = step.limits.max_failures if step is not None else None
        if step is not None and own is not None and self.ledger.failures_of(step.name) > own.of(targets):
            self._halt(Ending.MAX_FAILURES)

    async def _conclude(self) -> RunResult:
        ending = self._ending or Ending.COMPLETED
        if not ending.resumable:
            await self._sweep(self.ledger.works)
            ending = self._ending or Ending.COMPLETED
        not_sent = [work for work in self.ledger.works if work.outcome is None]
        if ending in _WHY_NOT_SENT and not not_sent and not self._cut_short and not self._anything_ahead():
            ending = Ending.COMPLETED
        code = exit_code(ending, self.ledger.counts, anything_sent=bool(self.ledger.sent))
        if ending.resumable:
            self.ledger.run_event("run.interrupted", reason=ending.value, open=len(not_sent), exit_code=int(code))
        else:
            for work in not_sent:
                self.ledger.ended(work, Outcome.NOT_SENT, _WHY_NOT_SENT[ending])
            due = {} if self._due is None else {"deadline": self._due.verdict(self.ledger.works)}
            self.ledger.run_event("run.finished", ending=ending.value, exit_code=int(code), **due)
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


def _arranged(step: PlannedStep, works: list[Work]) -> list[Work]:
    """The targets of a step that chose them just now, in its order and with their waves."""
    by = step.order_by
    if by is not None:
        works.sort(key=lambda work: rank(by, work.ref, work.note.rates.compute))
    for work, wave in zip(works, wave_numbers(step.waves or (), len(works)), strict=True):
        work.wave = wave
    return works


def _first(group: BaseExceptionGroup[AuditError]) -> AuditError:
    error = group.exceptions[0]
    return error if isinstance(error, AuditError) else _first(error)
