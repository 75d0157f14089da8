"""What the service knows of schedules and firings: the fold of its journal. Pure.

A firing is known by its playbook's name and the moment for which it was planned. Whatever was decided about it once is
never decided again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.runs.firing import FiringClaim

REMEMBERED = 1000
"""How many decided firings of a playbook are known one by one; the rest is known to lie before them."""
_FORGOTTEN_AFTER = timedelta(days=31)
"""What was known of a schedule that ended goes after this."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far the firings of a playbook are decided.

    Attributes:
        planned_after: what is planned then or before is decided.
        moment_after: what would have happened then or before does not count.
    """

    planned_after: datetime
    moment_after: datetime


@dataclass(slots=True)
class ScheduleState:
    """What is known of one playbook's schedule.

    Attributes:
        file: where the playbook was read.
        timezone: of its schedule.
        when: a digest of when it fires.
        left_out: a digest of what it leaves out.
        mark: how far its firings are decided.
        decided: the last of those that were, oldest first.
        kept: the firings whose planned time has come and that wait for their moment, by the planned time.
        forgotten: the latest of those that are not in `decided` any more.
        ended_at: when its schedule was taken away; None while it is there.
        last: the last run of a firing: planned, run_id, exit_code, result, at.
        last_success: when a run last ended with exit code 0.
        awaited_since: the first firing after this is to succeed: when the schedule was enabled, or last succeeded.
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

    def decide(self, planned: str) -> None:
        """Note that this one is decided."""
        self.kept.pop(parse_timestamp(planned), None)
        self.decided[planned] = None
        while len(self.decided) > REMEMBERED:
            oldest = next(iter(self.decided))
            del self.decided[oldest]
            self.forgotten = max(oldest, self.forgotten or oldest)

    def advance(self, planned: datetime) -> None:
        """Note that everything up to this one is decided."""
        self.mark = Watermark(max(planned, self.mark.planned_after), self.mark.moment_after)

    def document(self) -> dict[str, Any]:
        """As a snapshot has it."""
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
        }

    @classmethod
    def of(cls, document: Record) -> "ScheduleState":
        """What a snapshot says."""
        ended_at, last_success = document["ended_at"], document["last_success"]
        awaited_since = document.get("awaited_since", last_success)
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
        )


class ServiceState:
    """What a journal's records add up to.

    Attributes:
        playbooks: what is known of each schedule, by the playbook's name.
        claims: the firings that are claimed and not ended, by what they are known by, oldest first.
    """

    def __init__(self) -> None:
        self.playbooks: dict[str, ScheduleState] = {}
        self.claims: dict[tuple[str, str], FiringClaim] = {}

    def __repr__(self) -> str:
        return f"<Memory of {len(self.playbooks)} schedules, {len(self.claims)} claims open>"

    def present(self) -> Iterator[tuple[str, ScheduleState]]:
        """The schedules that have not ended."""
        return ((name, known) for name, known in self.playbooks.items() if known.ended_at is None)

    def apply(self, record: Record) -> None:
        """Take one more record into account.

        Raises:
            KeyError: when it is no record of a journal. So do ValueError and TypeError.
        """
        _APPLY[record["event"]](self, record)

    def snapshot(self, now: datetime) -> dict[str, Any]:
        """All of it as the fields of one record, but for what is long over."""
        kept = {
            name: known.document()
            for name, known in self.playbooks.items()
            if known.ended_at is None or now - known.ended_at < _FORGOTTEN_AFTER
        }
        return {"playbooks": kept, "claims": [claim.fields() for claim in self.claims.values()]}


def _snapshot(memory: ServiceState, record: Record) -> None:
    memory.playbooks = {name: ScheduleState.of(document) for name, document in record["playbooks"].items()}
    claims = [FiringClaim.of(each) for each in record["claims"]]
    memory.claims = {claim.key: claim for claim in claims}


def _enabled(memory: ServiceState, record: Record) -> None:
    at = parse_timestamp(record["ts"])
    before = memory.playbooks.get(record["playbook"])
    known = ScheduleState(record["file"], record["timezone"], record["when"], record["left_out"], Watermark(at, at))
    known.awaited_since = at
    if before is not None:
        known.decided, known.forgotten = before.decided, before.forgotten
        known.last, known.last_success = before.last, before.last_success
    memory.playbooks[record["playbook"]] = known


def _changed(memory: ServiceState, record: Record) -> None:
    known, at = memory.playbooks[record["playbook"]], parse_timestamp(record["ts"])
    if record["when"] != known.when:
        known.mark = Watermark(at, at)
        known.awaited_since = at
    elif record["left_out"] != known.left_out:
        known.mark = Watermark(known.mark.planned_after, at)
    known.file, known.timezone = record["file"], record["timezone"]
    known.when, known.left_out = record["when"], record["left_out"]


def _ended(memory: ServiceState, record: Record) -> None:
    memory.playbooks[record["playbook"]].ended_at = parse_timestamp(record["ts"])


def _set_back(memory: ServiceState, record: Record) -> None:
    known, to = memory.playbooks[record["playbook"]], parse_timestamp(record["to"])
    known.mark = Watermark(to, to)


def _claimed(memory: ServiceState, record: Record) -> None:
    claim = FiringClaim.of(record)
    memory.claims[claim.key] = claim
    _decided(memory, record)


def _decided(memory: ServiceState, record: Record) -> None:
    known = memory.playbooks.get(record["playbook"])
    if known is not None:  # a claim may outlive what is known of a schedule that ended long ago
        known.decide(record["planned"])
        known.advance(parse_timestamp(record["planned"]))


def _planned(memory: ServiceState, record: Record) -> None:
    known = memory.playbooks[record["playbook"]]
    known.kept[parse_timestamp(record["planned"])] = parse_timestamp(record["moment"])


def _missed(memory: ServiceState, record: Record) -> None:
    # Not one by one: with a clock that was wrong it may be missed now, and come in time later.
    known, planned = memory.playbooks[record["playbook"]], parse_timestamp(record["planned"])
    known.kept = {each: moment for each, moment in known.kept.items() if each > planned}
    known.advance(planned)


def _over(memory: ServiceState, record: Record) -> None:
    memory.claims.pop((record["playbook"], record["planned"]), None)
    known = memory.playbooks.get(record["playbook"])
    if known is None:
        return
    keys = ("planned", "run_id", "exit_code", "result", "reason")
    known.last = {**{key: record.get(key) for key in keys}, "at": record["ts"]}
    if record.get("exit_code") == 0:
        known.last_success = known.awaited_since = parse_timestamp(record["ts"])


_APPLY = {
    "snapshot": _snapshot,
    "schedule.enabled": _enabled,
    "schedule.changed": _changed,
    "schedule.ended": _ended,
    "clock.set_back": _set_back,
    "firing.planned": _planned,
    "firing.claimed": _claimed,
    "firing.left_out": _decided,
    "firing.missed": _missed,
    "firing.ended": _over,
}
