"""The timeline of a run: request, acceptance and end of every target, every request, and other events.

A fold over the records of a log. The timeline contains a `RunState` for the outcomes. Unknown events are kept
unchanged, so the log of a later version is readable as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from orchestrator.audit.events import ENDED, Event
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cvm import CvmRef

Key: TypeAlias = tuple[str, str]
"""A target: the step's name and the CVM's key."""

_TOLD = frozenset(
    {Event.RUN_STARTED, Event.RUN_PLANNED, Event.RUN_FINISHED, Event.TARGET_STATUS, Event.BILLING_RECONCILED}
)
_SENT_AND: dict[str, str] = {
    Event.ACTION_ACCEPTED: "accepted",
    Event.ACTION_REFUSED: "refused",
    Event.ACTION_DEFERRED: "deferred",
    Event.ACTION_UNKNOWN: "unknown",
    Event.ACTION_FAILED: "failed",
}
_NO_ANSWER = "unanswered"


@dataclass(slots=True)
class Request:
    """A request for a change.

    Attributes:
        at: seconds since the run began, as `RunTimeline.at` counts time.
        answer: `accepted`, `refused`, `deferred`, `unknown`, `failed`, or `unanswered`.
        sent: False for a request announced but not sent.
    """

    at: float
    answer: str = _NO_ANSWER
    sent: bool = True


@dataclass(slots=True)
class Line:
    """The events of a target, in the order of time.

    Attributes:
        intent_ts: the timestamp of the first announced request.
        intent: the same in seconds, as `RunTimeline.at` counts time; likewise for the other timestamps.
        accepted_ts: the timestamp of the first acceptance.
        ended_ts: the timestamp of the last outcome.
        observed: whether a status read, not a response, showed the acceptance.
        triggered_at: the last billing trigger, by the note.
        escalated: the action in place of the planned action, after an escalation.
        escalated_at: the escalation, in seconds.
        planned: the selection of the target, in seconds.
        last_request: the last request of the target.
    """

    intent_ts: str | None = None
    intent: float | None = None
    accepted_ts: str | None = None
    accepted: float | None = None
    ended_ts: str | None = None
    ended: float | None = None
    observed: bool = False
    triggered_at: str | None = None
    escalated: str | None = None
    escalated_at: float | None = None
    planned: float = 0.0
    last_request: Request | None = None


@dataclass(slots=True)
class Moment:
    """An unusual event of the run or of a target.

    Attributes:
        ts: the timestamp in the log.
        at: seconds since the run began, as `RunTimeline.at` counts time.
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
        lines: the events of every target.
        requests: every request, in order.
        skipped: the CVMs left alone, as recorded in `run.planned`.
        moments: the other events.
        pauses: the seconds between an end and the next `resume`; `at` leaves pauses out.
        seal: the last `run.sealed` record.
        last: seconds from the beginning to the last record of the run itself.
    """

    state: RunState = field(default_factory=RunState)
    lines: dict[Key, Line] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    seal: Record | None = None
    last: float = 0.0
    _began: datetime | None = None
    _batches: dict[int, Request] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "RunTimeline":
        """Build the timeline from records."""
        story = cls()
        for record in records:
            story.apply(record)
        return story

    def apply(self, record: Record) -> None:
        """Add the next record."""
        event, before = record["event"], self.state.last_ts
        if event == Event.RUN_RESUMED and before:
            self.pauses.append(max(0.0, self._since(record["ts"]) - self._since(before)))
        self.state.apply(record)
        if event not in {Event.BILLING_RECONCILED, Event.RUN_SEALED}:
            self.last = self.at(record["ts"])
        if event == Event.RUN_PLANNED:
            self.skipped = list(record.get("skipped") or ())
        elif event == Event.RUN_SEALED:
            self.seal = record
        elif event == Event.ACTION_INTENT:
            self._intent(record)
        elif event in _SENT_AND:
            self._answered(event, record)
        elif event in ENDED:
            line = self._line(record)
            line.ended, line.ended_ts = self.at(record["ts"]), record["ts"]
        elif event not in _TOLD:
            self._moment(event, record)

    def at(self, ts: str) -> float:
        """Return the seconds from the run's beginning to a timestamp, without interruptions.

        Exact only for the newest record: all pauses so far are subtracted.
        """
        return max(0.0, round(self._since(ts) - sum(self.pauses), 3))

    def _since(self, ts: str) -> float:
        moment = datetime.fromisoformat(ts)  # six times as fast as `parse_timestamp`, and called for every record
        if self._began is None:
            self._began = moment
        return (moment - self._began).total_seconds()

    def _line(self, record: Record) -> Line:
        return self.lines.setdefault((record["step"], CvmRef.of(record["cvm"]).key), Line())

    def _intent(self, record: Record) -> None:
        line, at, batch = self._line(record), self.at(record["ts"]), record.get("batch")
        if line.intent is None:
            line.intent, line.intent_ts = at, record["ts"]
        request = self._batches.get(batch) if batch is not None else None
        if request is None:
            request = Request(at)
            self.requests.append(request)
            if batch is not None:
                self._batches[batch] = request
        line.last_request = request

    def _answered(self, event: str, record: Record) -> None:
        line = self._line(record)
        request = line.last_request
        if request is not None and not record.get("observed"):
            request.answer = _SENT_AND[event]
            request.sent = request.sent and record.get("sent", True) is not False
        if event == Event.ACTION_ACCEPTED:
            if line.accepted is None:
                line.accepted, line.accepted_ts = self.at(record["ts"]), record["ts"]
                line.observed = bool(record.get("observed"))
            line.triggered_at = (record.get("billing") or {}).get("at")

    def _moment(self, event: str, record: Record) -> None:
        if event == Event.ACTION_ESCALATED:
            line = self._line(record)
            line.escalated, line.escalated_at = record.get("to"), self.at(record["ts"])
        elif event == Event.STEP_PLANNED:
            for entry in record.get("targets") or ():
                self._line(entry).planned = self.at(record["ts"])
        known = {"v", "seq", "ts", "run_id", "event", "prev", "hash", "targets", "skipped", "counts", "money"}
        fields = {key: value for key, value in record.items() if key not in known}
        if event == Event.STEP_PLANNED:
            fields["targets"] = len(record.get("targets") or ())
        self.moments.append(Moment(record["ts"], self.at(record["ts"]), event, fields))
