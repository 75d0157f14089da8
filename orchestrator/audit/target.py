"""What the log knows of one target, and what each record of it adds to that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.record import Record
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome
from orchestrator.run_bill import BilledTarget, charges_nothing
from orchestrator.skip_reason import code_of


class Phase(StrEnum):
    """Where a target stands that has no outcome yet."""

    WAITING = "waiting"
    """Nothing sent yet, or deferred: its request had no effect and will be sent again."""
    SENDING = "sending"
    """The intent is on record, its answer is not."""
    UNKNOWN = "unknown"
    """The answer does not tell whether the request had an effect."""
    SETTLING = "settling"
    """Accepted; on its way down."""


@dataclass(slots=True)
class TargetState:
    """What the log knows of one target.

    Attributes:
        step: the step's name.
        action: the step's action.
        ref: the CVM.
        before: its status when the plan was made.
        in_progress: whether an operation held it then; None in logs of earlier versions.
        bill: what its action does to the bill, by the plan; targets with the same share one mapping.
        phase: where it stands while it has no outcome.
        outcome: how it ended; None while it has not.
        attempts: how many requests were recorded for it.
        batch: the number of the last of them, where it was for others too.
        first_sent_at: the timestamp of the first of them.
        accepted_at: the timestamp of its acceptance.
        status: the last status that was seen.
        reason: in words, what went wrong or why it is where it is.
        code: why nothing was sent, as a `SkipReason`; None where something was, or where there is no code for it.
        request_id: the API's id of the last request that was answered.
        http_status: the status code of the last answer to its requests.
        seconds: from its first request to its outcome.
        wave: the step's wave that it belongs to, from 1.
        escalated_at: the timestamp at which it was given up that the CVM would go down by itself.
        escalated_from: the last status that was seen before that.
        taken_up_by: the later step that took up what became of it, so that this is not the last word on the CVM.
        billing: the billing note of its acceptance, without its moment; shared as `bill` is.
        reconciled: its last `billing.reconciled` record.
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
        """The outcome, or what it would be if nothing more were done: not sent, or sent and not seen down."""
        if self.outcome is not None:
            return self.outcome
        return Outcome.NOT_SENT if self.phase is Phase.WAITING else Outcome.UNSETTLED

    @property
    def billed(self) -> BilledTarget:
        """The target as far as the bill is concerned."""
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
        """The outcome, or else the phase, as one word."""
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
    "action.intent": _intent,
    "action.accepted": _accepted,
    "action.refused": _no_effect,
    "action.deferred": _deferred,
    "action.unknown": _unknown,
    "action.failed": _no_effect,
    "action.escalated": _escalated,
    "target.status": _status,
    "target.settled": _ended,
    "target.failed": _ended,
}
"""What a record says of its target, by the record's event."""
