"""State of the service's schedules and firings: the replay of the journal. Pure.

The key of a firing is the name of its playbook and its planned time. Each firing is decided only once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.runs.firing import FiringClaim
from orchestrator.times import parse_timestamp, timestamp

NEWEST_VERSION = 2
"""The newest version of a record that this program reads."""
REMEMBERED = 1000
"""Number of decided firings kept individually per playbook; all others are older."""
_FORGOTTEN_AFTER = timedelta(days=31)
"""Time after which the state of an ended schedule is dropped."""

Record = Mapping[str, Any]


def find_version(event: str) -> int:
    """Return the version of a record: an earlier program refuses records about wakes, and asks for a later version."""
    return NEWEST_VERSION if event.startswith("wake.") else 1


@dataclass(frozen=True, slots=True)
class Watermark:
    """Watermark of the decided firings of a playbook.

    Attributes:
        planned_after: firings planned up to this time are decided.
        moment_after: firings with a start time up to this time are ignored.
    """

    planned_after: datetime
    moment_after: datetime


@dataclass(slots=True)
class ScheduleState:
    """State of a playbook's schedule.

    Attributes:
        file: path of the playbook's file.
        timezone: time zone of the schedule.
        when: digest of the firing times.
        left_out: digest of the days off.
        mark: watermark of the decided firings.
        decided: the last decided firings, oldest first.
        kept: start times of firings with a past planned time, by planned time.
        forgotten: the latest firing dropped from `decided`.
        ended_at: end of the schedule; None while in force.
        last: the last run of a firing: planned, run_id, exit_code, result, at.
        last_success: end of the last run with exit code 0.
        awaited_since: last success, or time of enabling; the first firing after this time should succeed.
        kept_wake: of a wake: `source` of its playbook, and `calendars`; None for any other schedule.
        left_at: time of the removal of a wake from its playbook; None while the playbook has the wake.
        is_over: whether the last wake after the removal has run.
    """

    file: str
    timezone: str
    when: str
    left_out: str
    mark: Watermark
    decided: dict[str, None] = field(default_factory=dict)
    kept: dict[datetime, datetime] = field(default_factory=dict)
    forgotten: str | None = None
    ended_at: datetime | None = None
    last: dict[str, Any] | None = None
    last_success: datetime | None = None
    awaited_since: datetime | None = None
    kept_wake: dict[str, Any] | None = None
    left_at: datetime | None = None
    is_over: bool = False

    def mark_decided(self, planned: str) -> None:
        """Mark a firing as decided."""
        self.kept.pop(parse_timestamp(planned), None)
        self.decided[planned] = None
        while len(self.decided) > REMEMBERED:
            oldest = next(iter(self.decided))
            del self.decided[oldest]
            self.forgotten = max(oldest, self.forgotten or oldest)

    def advance_mark(self, planned: datetime) -> None:
        """Move the watermark up to a planned time."""
        self.mark = Watermark(max(planned, self.mark.planned_after), self.mark.moment_after)

    def document(self) -> dict[str, Any]:
        """Return the document for a snapshot."""
        return {
            "file": self.file,
            "timezone": self.timezone,
            "when": self.when,
            "left_out": self.left_out,
            "planned_after": timestamp(self.mark.planned_after),
            "moment_after": timestamp(self.mark.moment_after),
            "decided": list(self.decided),
            "kept": {timestamp(planned): timestamp(moment) for planned, moment in self.kept.items()},
            "forgotten": self.forgotten,
            "ended_at": None if self.ended_at is None else timestamp(self.ended_at),
            "last": self.last,
            "last_success": None if self.last_success is None else timestamp(self.last_success),
            "awaited_since": None if self.awaited_since is None else timestamp(self.awaited_since),
            **({} if self.kept_wake is None else {"kept_wake": self.kept_wake}),
            **({} if self.left_at is None else {"left_at": timestamp(self.left_at), "is_over": self.is_over}),
        }

    @classmethod
    def of(cls, document: Record) -> "ScheduleState":
        """Build the state from a document of a snapshot."""
        ended_at, last_success = document["ended_at"], document["last_success"]
        awaited_since, left_at = document.get("awaited_since", last_success), document.get("left_at")
        return cls(
            document["file"],
            document["timezone"],
            document["when"],
            document["left_out"],
            Watermark(parse_timestamp(document["planned_after"]), parse_timestamp(document["moment_after"])),
            dict.fromkeys(document["decided"]),
            {parse_timestamp(planned): parse_timestamp(at) for planned, at in document.get("kept", {}).items()},
            document["forgotten"],
            None if ended_at is None else parse_timestamp(ended_at),
            document["last"],
            None if last_success is None else parse_timestamp(last_success),
            None if awaited_since is None else parse_timestamp(awaited_since),
            document.get("kept_wake"),
            None if left_at is None else parse_timestamp(left_at),
            document.get("is_over", False),
        )


class ServiceState:
    """State of the service after the records of the journal.

    Attributes:
        playbooks: state of each schedule, by playbook name.
        claims: the open claims of firings, by key, oldest first.
    """

    def __init__(self) -> None:
        self.playbooks: dict[str, ScheduleState] = {}
        self.claims: dict[tuple[str, str], FiringClaim] = {}

    def __repr__(self) -> str:
        return f"<ServiceState: {len(self.playbooks)} schedules, {len(self.claims)} open claims>"

    def list_present(self) -> Iterator[tuple[str, ScheduleState]]:
        """List the schedules in force."""
        return ((name, known) for name, known in self.playbooks.items() if known.ended_at is None)

    def apply(self, record: Record) -> None:
        """Apply a record of the journal.

        Raises:
            KeyError: when the record is invalid. Also ValueError and TypeError.
        """
        _APPLY[record["event"]](self, record)

    def snapshot(self, now: datetime) -> dict[str, Any]:
        """Return the fields of a snapshot record, without schedules of the distant past."""
        kept = {
            name: known.document()
            for name, known in self.playbooks.items()
            if known.ended_at is None or now - known.ended_at < _FORGOTTEN_AFTER
        }
        return {"playbooks": kept, "claims": [claim.record_fields() for claim in self.claims.values()]}


def _apply_snapshot(state: ServiceState, record: Record) -> None:
    state.playbooks = {name: ScheduleState.of(document) for name, document in record["playbooks"].items()}
    claims = [FiringClaim.from_record(each) for each in record["claims"]]
    state.claims = {claim.key: claim for claim in claims}


def _apply_enabled(state: ServiceState, record: Record) -> None:
    at = parse_timestamp(record["ts"])
    before = state.playbooks.get(record["playbook"])
    known = ScheduleState(record["file"], record["timezone"], record["when"], record["left_out"], Watermark(at, at))
    known.awaited_since = at
    if before is not None:
        known.decided, known.forgotten = before.decided, before.forgotten
        known.last, known.last_success = before.last, before.last_success
    state.playbooks[record["playbook"]] = known


def _apply_changed(state: ServiceState, record: Record) -> None:
    known, at = state.playbooks[record["playbook"]], parse_timestamp(record["ts"])
    if record["when"] != known.when:
        known.mark = Watermark(at, at)
        known.awaited_since = at
    elif record["left_out"] != known.left_out:
        known.mark = Watermark(known.mark.planned_after, at)
    known.file, known.timezone = record["file"], record["timezone"]
    known.when, known.left_out = record["when"], record["left_out"]


def _apply_schedule_ended(state: ServiceState, record: Record) -> None:
    state.playbooks[record["playbook"]].ended_at = parse_timestamp(record["ts"])


def _apply_set_back(state: ServiceState, record: Record) -> None:
    known, to = state.playbooks[record["playbook"]], parse_timestamp(record["to"])
    known.mark = Watermark(to, to)


def _apply_claimed(state: ServiceState, record: Record) -> None:
    claim = FiringClaim.from_record(record)
    state.claims[claim.key] = claim
    _apply_decided(state, record)


def _apply_decided(state: ServiceState, record: Record) -> None:
    known = state.playbooks.get(record["playbook"])
    if known is not None:  # a claim may outlive the state of its ended schedule
        known.mark_decided(record["planned"])
        known.advance_mark(parse_timestamp(record["planned"]))


def _apply_planned(state: ServiceState, record: Record) -> None:
    known = state.playbooks[record["playbook"]]
    known.kept[parse_timestamp(record["planned"])] = parse_timestamp(record["moment"])


def _apply_missed(state: ServiceState, record: Record) -> None:
    # Not marked individually: after a correction of the clock, a missed firing may be in time again.
    known, planned = state.playbooks[record["playbook"]], parse_timestamp(record["planned"])
    known.kept = {each: moment for each, moment in known.kept.items() if each > planned}
    known.advance_mark(planned)


def _apply_wake_kept(state: ServiceState, record: Record) -> None:
    known = state.playbooks[record["playbook"]]
    known.kept_wake = {"source": record["source"], "calendars": record["calendars"]}
    known.left_at, known.is_over = None, False


def _apply_wake_left(state: ServiceState, record: Record) -> None:
    state.playbooks[record["playbook"]].left_at = parse_timestamp(record["ts"])


def _apply_firing_ended(state: ServiceState, record: Record) -> None:
    state.claims.pop((record["playbook"], record["planned"]), None)
    known = state.playbooks.get(record["playbook"])
    if known is None:
        return
    keys = ("planned", "run_id", "exit_code", "result", "reason")
    known.is_over = known.left_at is not None and record.get("result") == "ran"
    known.last = {**{key: record.get(key) for key in keys}, "at": record["ts"]}
    if record.get("exit_code") == 0:
        known.last_success = known.awaited_since = parse_timestamp(record["ts"])


_APPLY = {
    "snapshot": _apply_snapshot,
    "schedule.enabled": _apply_enabled,
    "schedule.changed": _apply_changed,
    "schedule.ended": _apply_schedule_ended,
    "clock.set_back": _apply_set_back,
    "wake.kept": _apply_wake_kept,
    "wake.left": _apply_wake_left,
    "firing.planned": _apply_planned,
    "firing.claimed": _apply_claimed,
    "firing.left_out": _apply_decided,
    "firing.missed": _apply_missed,
    "firing.ended": _apply_firing_ended,
}
