"""Replay: fold the records of a log into the state of the run and of every target.

The same fold serves `resume`, `show`, `runs`, the live view and the summary, so these can't disagree with the log.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from orchestrator.audit.events import (
    ActionAccepted,
    ActionIntent,
    AnyEvent,
    ApprovalAnswered,
    ApprovalRequested,
    Event,
    Json,
    MessageSent,
    PlannedTarget,
    RunFinished,
    RunInterrupted,
    RunPlanned,
    RunResumed,
    RunStarted,
    StepEvent,
    StepPlanned,
    TargetEnded,
    TargetEvent,
    TargetFailed,
    WaveSoaking,
    read_event,
)
from orchestrator.audit.record import Record
from orchestrator.audit.target import TargetState
from orchestrator.cvm import DOWN
from orchestrator.outcome import CHANGED, OUT_OF_SCOPE, Outcome, may_be_protected, with_code
from orchestrator.run_bill import run_bill

SERVED = "served"
"""Value of `simulator` for a run against a simulated cloud that continues after the run."""

_RECENT = 999
"""Number of recent durations kept to estimate how long a CVM takes."""


@dataclass(slots=True)
class RunState:
    """State of a run according to its log.

    Attributes:
        run_id: the run.
        started: the start; a view of an empty record if the log has no start.
        planned: the plan without its CVMs; a view of an empty record if the log has no plan.
        targets: every target, by step and CVM.
        skipped: the skipped CVMs of `run.planned` with their codes, without CVMs outside the run's scope.
        passed: the steps a resume need not repeat: approved questions, sent messages, and follow-up steps that have
            chosen their targets.
        question: the question without an answer yet.
        answers: each answered question and its answer.
        waves: number of waves of each step with more than one wave.
        wave: step and wave of the last announced request.
        soaks: end of the wait after a wave, by step and wave number, in the order of the log.
        stages: number of targets at each stage; a CVM counts only with its last target.
        troubles: the last failed targets, newest last.
        durations: seconds from the first request to the outcome, of the last targets.
        events: number of records by event.
        last_ts: timestamp of the last record.
        interrupted: the last interruption, unless the run was resumed since.
        finished: the end of the run.
        requests: number of announced requests; stops in a shared request count once.
    """

    run_id: str = ""
    started: RunStarted = field(default_factory=lambda: RunStarted({}))
    planned: RunPlanned = field(default_factory=lambda: RunPlanned({}))
    targets: dict[tuple[str, str], TargetState] = field(default_factory=dict)
    skipped: list[Record] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    question: ApprovalRequested | None = None
    answers: list[tuple[ApprovalRequested, ApprovalAnswered]] = field(default_factory=list)
    waves: dict[str, int] = field(default_factory=dict)
    wave: tuple[str, int] | None = None
    soaks: dict[tuple[str, int], str] = field(default_factory=dict)
    stages: Counter[str] = field(default_factory=Counter)
    troubles: deque[TargetState] = field(default_factory=lambda: deque(maxlen=8))
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    events: Counter[str] = field(default_factory=Counter)
    last_ts: str = ""
    interrupted: RunInterrupted | None = None
    finished: RunFinished | None = None
    requests: int = 0
    _bills: dict[tuple[object, ...], dict[str, Any]] = field(default_factory=dict, repr=False)

    @property
    def resume_id(self) -> str:
        """Id for `resume`: of the fleet run if the run belongs to one, else of the run."""
        return self.started.fleet or self.run_id

    @property
    def answer_command(self) -> str:
        """The command to answer the open question; a run with approvals on record takes signed answers."""
        return f"orchestrator approve {self.run_id}{' --key KEY' if self.started.is_signed else ''}"

    @property
    def ended_at(self) -> str | None:
        """Timestamp of the end, or of the last interruption; None for any other run. Later records do not count."""
        end = self.finished or self.interrupted
        return None if end is None else end.ts

    @property
    def counts(self) -> dict[Outcome, int]:
        """Number of targets by outcome, without outcomes of zero targets."""
        return {outcome: self.stages[outcome] for outcome in Outcome if self.stages[outcome]}

    @property
    def counts_so_far(self) -> dict[str, int]:
        """Number of targets by outcome, or by the outcome so far, without targets chosen again by a later step."""
        last_words = (target for target in self.targets.values() if target.taken_up_by is None)
        return dict(Counter(target.outcome_so_far.value for target in last_words))

    @property
    def drifted_targets(self) -> list[Record]:
        """Entries of `skipped` changed since the making of the plan file, or since the end of the run to undo."""
        return [entry for entry in self.skipped if entry["code"] in CHANGED]

    @property
    def left_alone(self) -> list[Record]:
        """Entries of `skipped` selected by a step but left alone, because an unknown fact may mean protection."""
        return [entry for entry in self.skipped if may_be_protected(entry)]

    @property
    def cvm_count(self) -> int:
        """Number of the run's CVMs; a CVM of an earlier and a later step counts once."""
        return self.stages.total()

    @property
    def is_refused(self) -> bool:
        """True if the log has an answer other than `approved`: the run goes no further, not even after a resume."""
        return any(not answer.is_approved for _, answer in self.answers)

    @property
    def has_plan(self) -> bool:
        """True if the log has a plan; without a plan, nothing was sent."""
        return bool(self.planned.record)

    @property
    def is_simulated(self) -> bool:
        """True if the run was against a simulated cloud."""
        return bool(self.started.simulated)

    @property
    def cloud_ended(self) -> bool:
        """True if the run's simulated cloud ended with the run; such a run can't be continued."""
        return self.is_simulated and self.started.simulator != SERVED

    @property
    def anything_sent(self) -> bool:
        """True if the log announces any request with an effect on a CVM."""
        return bool(self.events[Event.ACTION_INTENT])

    @property
    def money(self) -> dict[str, object]:
        """Effect of the accepted actions on the bill, as summed up by `run_bill`."""
        return run_bill(target.billed_target for target in self.targets.values())

    def apply_record(self, record: Record) -> None:
        """Apply the next record to the state."""
        self.apply_event(read_event(record))

    def apply_event(self, event: AnyEvent) -> None:
        """Apply the next event to the state."""
        self.events[event.name] += 1
        self.last_ts = event.ts
        match event:
            case TargetEvent():
                self._apply_to_target(event)
            case StepEvent():
                self._apply_to_step(event)
            case RunStarted():
                self.run_id, self.started = event.run_id, event
            case RunPlanned():
                self._apply_plan(event)
            case RunInterrupted():
                self.interrupted = event
            case RunResumed():
                self.interrupted = self.question = None  # an open question is asked again
            case RunFinished():
                self.finished = event

    def _apply_plan(self, plan: RunPlanned) -> None:
        """Add the targets; keep only a small part of the record, because the record may be most of the log."""
        record = {key: value for key, value in plan.record.items() if key not in {"targets", "skipped"}}
        if plan.workspace_size and plan.cvms_up is None:
            # Logs of earlier versions have no number, but the status of every CVM.
            every = [*(target.record for target in plan.targets), *plan.skipped]
            record["cvms_up"] = sum(entry.get("status") not in DOWN for entry in every)
        self.planned = RunPlanned(record)
        entries = map(with_code, plan.skipped)
        self.skipped = [entry for entry in entries if entry["code"] not in OUT_OF_SCOPE]
        for target in plan.targets:
            self._add_target(target)

    def _add_target(self, planned: PlannedTarget) -> TargetState:
        target = TargetState(
            planned.step,
            planned.action,
            planned.ref,
            before=planned.status,
            in_progress=planned.in_progress,
            bill=self._share_note(planned.billing),
            wave=planned.wave,
        )
        self.targets[target.step, target.ref.key] = target
        self.stages[target.stage] += 1
        if target.wave > 1:
            self.waves[target.step] = max(target.wave, self.waves.get(target.step, 1))
        return target

    def _apply_to_step(self, event: StepEvent) -> None:
        match event:
            case WaveSoaking():
                self.soaks[event.step, event.wave] = event.until
            case ApprovalRequested():
                self.question = event
            case ApprovalAnswered():
                if self.question is not None:
                    self.answers.append((self.question, event))
                self.question = None
                if event.is_approved:
                    self.passed.add(event.step)
            case StepPlanned():
                self._apply_follow_up(event)
                self.passed.add(event.step)
            case MessageSent():
                self.passed.add(event.step)

    def _apply_follow_up(self, event: StepPlanned) -> None:
        """Add the targets of a follow-up step, and mark their sources in the earlier step."""
        step = next(each for each in self.planned.steps if each["name"] == event.step)
        for planned in event.targets:
            source = self.targets[step["follows"]["step"], self._add_target(planned).ref.key]
            self.stages[source.stage] -= 1
            source.taken_up_by = event.step

    def _apply_to_target(self, event: TargetEvent) -> None:
        target = self.targets[event.key]
        before = target.outcome or target.phase
        target.apply_event(event)
        after = target.outcome or target.phase
        if after is not before and target.taken_up_by is None:
            self.stages[before.value] -= 1
            self.stages[after.value] += 1
        match event:
            case ActionIntent():
                self.wave = target.step, target.wave
                # The number of a shared request counts all requests of the run.
                self.requests = max(self.requests, event.batch or self.requests + 1)
            case ActionAccepted():
                target.billing = self._share_note(event.billing)
            case TargetEnded():
                if event.seconds is not None:
                    self.durations.append(event.seconds)
                if isinstance(event, TargetFailed):
                    self.troubles.append(target)

    def _share_note(self, billing: Json) -> dict[str, Any]:
        """Return a billing note without its fields for a single CVM; equal notes share the same mapping."""
        note = {key: value for key, value in billing.items() if key not in {"triggered", "at"}}
        same = (*note, *[tuple(value) if isinstance(value, list) else value for value in note.values()])
        return self._bills.setdefault(same, note)
