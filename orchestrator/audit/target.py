"""State of a target according to the log, and the effect of each event on the state."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from orchestrator.action import Action
from orchestrator.audit.events import (
    ActionAccepted,
    ActionDeferred,
    ActionEscalated,
    ActionFailed,
    ActionIntent,
    ActionRefused,
    ActionUnknown,
    BillingReconciled,
    Json,
    RepliedEvent,
    TargetEnded,
    TargetEvent,
    TargetOperation,
    TargetSettled,
    TargetStatus,
)
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome, code_of
from orchestrator.run_bill import BilledTarget, charges_nothing


class Phase(StrEnum):
    """Phase of a target without an outcome."""

    WAITING = "waiting"
    """Nothing sent yet, or deferred: the target's request had no effect and will be sent again."""
    SENDING = "sending"
    """The intent to send is on record, but no answer is."""
    UNKNOWN = "unknown"
    """Unknown effect of the request, even with the answer."""
    SETTLING = "settling"
    """The request was accepted; the CVM is on its way to the wanted status."""


@dataclass(slots=True)
class TargetState:
    """State of a target according to the log.

    Attributes:
        step: name of the step.
        action: action of the step.
        ref: the CVM.
        before: status of the CVM in the plan.
        in_progress: whether an operation held the CVM at the time of the plan; None in logs of earlier versions.
        bill: effect of the action on the bill, according to the plan; equal effects share one mapping.
        phase: phase of the target while the target has no outcome.
        outcome: outcome of the target; None before the end.
        attempts: number of recorded requests for the target.
        unsent: number of these requests on record as not sent.
        batch: number of the last request, if the request was shared with other targets.
        first_sent_at: timestamp of the first request.
        effective_sent_at: timestamp of the request that had, or may have had, the effect: requests without an effect
            before this request do not count, nor do requests after the first acceptance.
        first_accepted_at: timestamp of the first acceptance.
        accepted_at: timestamp of the last acceptance; after an escalation, still of the escalated action.
        accepted_action: the action accepted at that time.
        settled_at: timestamp of the first `target.settled`.
        ended_at: timestamp of the last outcome.
        status: last status seen.
        reason: in words, the fault or the cause of the present state.
        code: reason why nothing was sent, as a `SkipReason`; None if a request was sent, or without a code.
        request_id: the API's id of the last answered request.
        http_status: status code of the last answer to the target's requests.
        seconds: seconds from the first request to the outcome.
        wave: wave of the step, from 1.
        escalated_at: timestamp of the escalation, when the run stopped waiting for the CVM to go down by itself.
        escalated_from: last status seen before the escalation.
        taken_up_by: the later step that chose this CVM again; then this target is not the last word on the CVM.
        billing: billing note of the acceptance, without its time; shared like `bill`.
        reconciled: the last record about the charge.
        operations: the API's ids of the operations of the requests; None if the operation history was not read.
    """

    step: str
    action: str
    ref: CvmRef
    before: str | None = None
    in_progress: bool | None = None
    bill: Json = field(default_factory=dict)
    phase: Phase = Phase.WAITING
    outcome: Outcome | None = None
    attempts: int = 0
    unsent: int = 0
    batch: int | None = None
    first_sent_at: str | None = None
    effective_sent_at: str | None = None
    first_accepted_at: str | None = None
    accepted_at: str | None = None
    accepted_action: str | None = None
    settled_at: str | None = None
    ended_at: str | None = None
    status: str | None = None
    reason: str | None = None
    code: str | None = None
    request_id: str | None = None
    http_status: int | None = None
    seconds: float | None = None
    wave: int = 1
    escalated_at: str | None = None
    escalated_from: str | None = None
    taken_up_by: str | None = None
    billing: Json | None = None
    reconciled: BillingReconciled | None = None
    operations: tuple[str, ...] | None = None

    @property
    def outcome_so_far(self) -> Outcome:
        """The outcome, or the outcome if the run ended now: not sent, or sent and not settled."""
        if self.outcome is not None:
            return self.outcome
        return Outcome.NOT_SENT if self.phase is Phase.WAITING else Outcome.UNSETTLED

    @property
    def current_action(self) -> Action:
        """The action of the last request: after an escalation, the stronger action."""
        action = Action(self.action)
        return action if self.escalated_at is None else action.spec.escalates_to or action

    @property
    def billed_target(self) -> BilledTarget:
        """The target's facts for the bill."""
        note = self.billing or {}
        return BilledTarget(
            self.ref.key,
            Action(self.action),
            self.outcome,
            self.status,
            billed=self.billing is not None,
            charges=not charges_nothing(note.get("notes")),
            compute=_parse_amount(note.get("compute_usd_per_hour")),
            storage=_parse_amount(note.get("storage_usd_per_hour")),
        )

    @property
    def stage(self) -> str:
        """The outcome, or the phase of a target without an outcome, as a single word."""
        return str(self.outcome or self.phase)

    def apply_event(self, event: TargetEvent) -> None:
        """Apply the next event of the target."""
        match event:
            case ActionIntent():
                self._apply_intent(event)
            case ActionAccepted():
                self._apply_acceptance(event)
            case TargetStatus():
                self.status = event.status
            case TargetEnded():
                self._apply_outcome(event)
            case ActionDeferred():
                self.unsent += event.sent is False
                self._apply_reply(event, Phase.UNKNOWN if event.verify else Phase.WAITING)
            case ActionUnknown():
                self._apply_reply(event, Phase.UNKNOWN)
            case ActionRefused() | ActionFailed():
                self._apply_reply(event, Phase.WAITING)
            case ActionEscalated():
                self.phase, self.batch = Phase.WAITING, None
                self.escalated_at, self.escalated_from = event.ts, self.status
                self.reason = event.reason
            case TargetOperation() | BillingReconciled():
                self._apply_note(event)

    def _apply_note(self, note: TargetOperation | BillingReconciled) -> None:
        if isinstance(note, TargetOperation):
            self.operations = tuple(note.correlation_ids)
        else:
            self.reconciled = note

    def _apply_intent(self, intent: ActionIntent) -> None:
        ts = intent.ts
        if self.accepted_at is None and self.phase is Phase.WAITING:
            self.effective_sent_at = ts
        self.batch = intent.batch
        self.attempts = intent.attempt
        self.first_sent_at = self.first_sent_at or ts
        self.phase = Phase.SENDING

    def _apply_acceptance(self, acceptance: ActionAccepted) -> None:
        self._apply_reply(acceptance, Phase.SETTLING)
        self.accepted_at, self.accepted_action = acceptance.ts, acceptance.action
        self.first_accepted_at = self.first_accepted_at or self.accepted_at
        self.status = acceptance.status or self.status
        self.reason = None

    def _apply_reply(self, reply: RepliedEvent, phase: Phase) -> None:
        self.phase = phase
        self.request_id = reply.request_id or self.request_id
        self.http_status = reply.http_status or self.http_status
        self.reason = reply.reason or self.reason

    def _apply_outcome(self, end: TargetEnded) -> None:
        self._apply_reply(end, self.phase)
        self.outcome = Outcome(end.outcome)
        self.ended_at = end.ts
        if isinstance(end, TargetSettled):
            self.settled_at = self.settled_at or end.ts
        self.status = end.status or self.status
        self.reason = end.reason
        unsent = self.outcome in {Outcome.NOT_SENT, Outcome.SKIPPED}
        self.code = (end.code or code_of(end.record)) if unsent else None
        self.seconds = end.seconds


def _parse_amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
