"""The timeline of a run: request, acceptance and end of every target, every request, and other events.

A fold over the records of a log. The timeline contains a `RunState` for the outcomes. Unknown events are kept
unchanged, so the log of a later version is readable as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from orchestrator.audit.events import (
    ActionAccepted,
    ActionDeferred,
    ActionEscalated,
    ActionIntent,
    BillingReconciled,
    Json,
    LogEvent,
    RepliedEvent,
    RunFinished,
    RunPlanned,
    RunResumed,
    RunSealed,
    RunStarted,
    StepPlanned,
    TargetEnded,
    TargetEvent,
    read_event,
)
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState

Key: TypeAlias = tuple[str, str]
"""A target: the step's name and the CVM's key."""

_LEFT_OUT = frozenset({"v", "seq", "ts", "run_id", "event", "prev", "hash", "targets", "skipped", "counts", "money"})
_NO_ANSWER = "unanswered"


@dataclass(slots=True)
class Request:
    """A request for a change.

    Attributes:
        at: seconds since the run began, as `RunTimeline.seconds_at` counts time.
        answer: `accepted`, `refused`, `deferred`, `unknown`, `failed`, or `unanswered`.
        sent: False for a request announced but not sent.
    """

    at: float
    answer: str = _NO_ANSWER
    sent: bool = True


@dataclass(slots=True)
class TargetTimeline:
    """The events of a target, in the order of time.

    Attributes:
        intent: the first announced request, in seconds of `RunTimeline.seconds_at`; likewise for the others.
        accepted: the first acceptance.
        ended: the last outcome.
        observed: whether a status read, not a response, showed the acceptance.
        triggered_at: the last billing trigger, by the note.
        escalated: the action in place of the planned action, after an escalation.
        escalated_at: the escalation, in seconds.
        planned: the selection of the target, in seconds.
        last_request: the last request of the target.
    """

    intent: float | None = None
    accepted: float | None = None
    ended: float | None = None
    observed: bool = False
    triggered_at: str | None = None
    escalated: str | None = None
    escalated_at: float | None = None
    planned: float = 0.0
    last_request: Request | None = None


@dataclass(slots=True)
class Incident:
    """An unusual event of the run or of a target.

    Attributes:
        ts: the timestamp in the log.
        at: seconds since the run began, as `RunTimeline.seconds_at` counts time.
        event: the record's event.
        fields: the other fields of the record.
    """

    ts: str
    at: float
    event: str
    fields: dict[str, Any]


@dataclass(slots=True)
class RunTimeline:
    """The contents of a report.

    Attributes:
        state: the replayed state of the log.
        targets: the events of every target.
        requests: every request, in order.
        skipped: the skipped CVMs, as recorded in `run.planned`.
        incidents: the other events.
        pauses: the seconds between an end and the next `resume`; `at` leaves pauses out.
        seal: the last `run.sealed` record.
        last: seconds from the beginning to the last record of the run itself.
    """

    state: RunState = field(default_factory=RunState)
    targets: dict[Key, TargetTimeline] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    skipped: list[Json] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    seal: Record | None = None
    last: float = 0.0
    _began: datetime | None = None
    _batches: dict[int, Request] = field(default_factory=dict, repr=False)

    @classmethod
    def from_records(cls, records: Iterable[Record]) -> "RunTimeline":
        """Build the timeline from records."""
        timeline = cls()
        for record in records:
            timeline.apply_record(record)
        return timeline

    def apply_record(self, record: Record) -> None:
        """Add the next record."""
        event, before = read_event(record), self.state.last_ts
        if isinstance(event, RunResumed) and before:
            self.pauses.append(max(0.0, self._seconds_since_start(event.ts) - self._seconds_since_start(before)))
        self.state.apply_event(event)
        if not isinstance(event, BillingReconciled | RunSealed):
            self.last = self.seconds_at(event.ts)
        match event:
            case TargetEvent():
                self._add_target_event(event)
            case RunPlanned():
                self.skipped = list(event.skipped)
            case RunSealed():
                self.seal = record
            case StepPlanned():
                for target in event.targets:
                    self._timeline_of((target.step, target.ref.key)).planned = self.seconds_at(event.ts)
                self._add_incident(event)
            case RunStarted() | RunFinished():
                pass
            case _:
                self._add_incident(event)

    def _add_target_event(self, event: TargetEvent) -> None:
        match event:
            case ActionIntent():
                self._add_intent(event)
            case TargetEnded():
                self._timeline_of(event.key).ended = self.seconds_at(event.ts)
            case ActionEscalated():
                target = self._timeline_of(event.key)
                target.escalated, target.escalated_at = event.to, self.seconds_at(event.ts)
                self._add_incident(event)
            case RepliedEvent():
                self._add_reply(event)

    def seconds_at(self, ts: str) -> float:
        """Return the seconds from the run's beginning to a timestamp, without interruptions.

        Exact only for the newest record: all pauses so far are subtracted.
        """
        return max(0.0, round(self._seconds_since_start(ts) - sum(self.pauses), 3))

    def _seconds_since_start(self, ts: str) -> float:
        moment = datetime.fromisoformat(ts)  # six times as fast as `parse_timestamp`, and called for every record
        if self._began is None:
            self._began = moment
        return (moment - self._began).total_seconds()

    def _timeline_of(self, key: Key) -> TargetTimeline:
        return self.targets.setdefault(key, TargetTimeline())

    def _add_intent(self, event: ActionIntent) -> None:
        target, at, batch = self._timeline_of(event.key), self.seconds_at(event.ts), event.batch
        if target.intent is None:
            target.intent = at
        request = self._batches.get(batch) if batch is not None else None
        if request is None:
            request = Request(at)
            self.requests.append(request)
            if batch is not None:
                self._batches[batch] = request
        target.last_request = request

    def _add_reply(self, event: RepliedEvent) -> None:
        target = self._timeline_of(event.key)
        request = target.last_request
        observed = isinstance(event, ActionAccepted) and bool(event.observed)
        if request is not None and not observed:
            request.answer = event.name.removeprefix("action.")
            request.sent = request.sent and not (isinstance(event, ActionDeferred) and event.sent is False)
        if isinstance(event, ActionAccepted):
            if target.accepted is None:
                target.accepted, target.observed = self.seconds_at(event.ts), observed
            target.triggered_at = event.billing.get("at")

    def _add_incident(self, event: LogEvent) -> None:
        fields = {key: value for key, value in event.record.items() if key not in _LEFT_OUT}
        if isinstance(event, StepPlanned):
            fields["targets"] = len(event.record.get("targets") or ())
        self.incidents.append(Incident(event.ts, self.seconds_at(event.ts), event.name, fields))
