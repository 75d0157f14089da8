"""State of a target according to the log, and the effect of each record on that state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome
from orchestrator.run_bill import BilledTarget, charges_nothing
from orchestrator.skip_reason import code_of


class Phase(StrEnum):
    """Phase of a target without an outcome."""

    WAITING = "waiting"
    """Nothing sent yet, or deferred: the target's request had no effect and will be sent again."""
    SENDING = "sending"
    """The intent to send is on record, but no answer is."""
    UNKNOWN = "unknown"
    """The answer does not tell whether the request had an effect."""
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
        batch: number of the last request, if the request was shared with other targets.
        first_sent_at: timestamp of the first request.
        accepted_at: timestamp of the acceptance.
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
        reconciled: the last `billing.reconciled` record of the target.
    """

    step: str
    action: str
    ref: CvmRef
    before: str | None = None
    in_progress: bool | None = None
    bill: Mapping[str, Any] = field(default_factory=dict)
    phase: Phase = Phase.WAITING
    outcome: Outcome | None = None
    attempts: int = 0
    batch: int | None = None
    first_sent_at: str | None = None
    accepted_at: str | None = None
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
    billing: Mapping[str, Any] | None = None
    reconciled: Mapping[str, Any] | None = None

    @property
    def outcome_so_far(self) -> Outcome:
        """The outcome, or the outcome if the run ended now: not sent, or sent and not settled."""
        if self.outcome is not None:
            return self.outcome
        return Outcome.NOT_SENT if self.phase is Phase.WAITING else Outcome.UNSETTLED

    @property
    def billed(self) -> BilledTarget:
        """The target's facts for the bill."""
        note = self.billing or {}
        return BilledTarget(
            self.ref.key,
            Action(self.action),
            self.outcome,
            self.status,
            billed=self.billing is not None,
            charges=not charges_nothing(note),
            compute=_amount(note.get("compute_usd_per_hour")),
            storage=_amount(note.get("storage_usd_per_hour")),
        )

    @property
    def stage(self) -> str:
        """The outcome, or the phase of a target without an outcome, as a single word."""
        return str(self.outcome or self.phase)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _answered(target: TargetState, record: Record) -> None:
    target.request_id = record.get("request_id") or target.request_id
    target.http_status = record.get("http_status") or target.http_status
    target.reason = record.get("reason") or target.reason


def _intent(target: TargetState, record: Record) -> None:
    target.batch = record.get("batch")
    target.attempts = record["attempt"]
    target.first_sent_at = target.first_sent_at or record["ts"]
    target.phase = Phase.SENDING


def _accepted(target: TargetState, record: Record) -> None:
    _answered(target, record)
    target.phase = Phase.SETTLING
    target.accepted_at = record["ts"]
    target.status = record.get("status") or target.status
    target.reason = None


def _unknown(target: TargetState, record: Record) -> None:
    _answered(target, record)
    target.phase = Phase.UNKNOWN


def _deferred(target: TargetState, record: Record) -> None:
    _answered(target, record)
    target.phase = Phase.UNKNOWN if record.get("verify") else Phase.WAITING


def _no_effect(target: TargetState, record: Record) -> None:
    _answered(target, record)
    target.phase = Phase.WAITING


def _escalated(target: TargetState, record: Record) -> None:
    target.phase, target.batch = Phase.WAITING, None
    target.escalated_at, target.accepted_at = record["ts"], None
    target.escalated_from = target.status
    target.reason = record["reason"]


def _status(target: TargetState, record: Record) -> None:
    target.status = record["status"]


def _ended(target: TargetState, record: Record) -> None:
    _answered(target, record)
    target.outcome = Outcome(record["outcome"])
    target.status = record.get("status") or target.status
    target.reason = record.get("reason")
    unsent = target.outcome in {Outcome.NOT_SENT, Outcome.SKIPPED}
    target.code = (record.get("code") or code_of(record)) if unsent else None
    target.seconds = record.get("seconds")


APPLY: dict[str, Callable[[TargetState, Record], None]] = {
    Event.ACTION_INTENT: _intent,
    Event.ACTION_ACCEPTED: _accepted,
    Event.ACTION_REFUSED: _no_effect,
    Event.ACTION_DEFERRED: _deferred,
    Event.ACTION_UNKNOWN: _unknown,
    Event.ACTION_FAILED: _no_effect,
    Event.ACTION_ESCALATED: _escalated,
    Event.TARGET_STATUS: _status,
    Event.TARGET_SETTLED: _ended,
    Event.TARGET_FAILED: _ended,
}
"""Functions to apply a record to its target, by the record's event."""
