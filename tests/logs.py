"""Logs for tests: the builder of every log, the parts of its records, and a small log."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from orchestrator.audit.log import AuditLog, FileBacking, LogSync
from orchestrator.audit.record import Chain, Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Reading, Take, check_lines, ignore_record, read_log
from orchestrator.times import timestamp

RUN_ID = "20261123T080000Z-4f2a"
START = datetime(2026, 11, 23, 8, tzinfo=UTC)
CLOUD = "https://cloud.example"

Story = list[tuple[str, dict[str, Any]]]
"""The events and the fields of records; a second passes between two records."""
TimedEvent = tuple[float, str, Mapping[str, Any]]
"""An event with the seconds since the start of the log."""
Cvm = Mapping[str, Any]


def cvm(number: int, name: str | None = None, teepod: int = 1, app: str = "a1") -> dict[str, Any]:
    """Build a CVM of a record."""
    return {
        "id": f"cvm_{number}",
        "vm_uuid": f"{number:032x}",
        "name": f"web-{number}" if name is None else name,
        "app_id": app,
        "teepod_id": teepod,
        "teepod": f"prod-{teepod}",
    }


def billing(compute: str | None = "0.10", storage: str | None = "0.01") -> dict[str, Any]:
    """Build the billing note of a target or of an accepted stop."""
    return {
        "triggered": True,
        "compute_usd_per_hour": compute,
        "storage_usd_per_hour": storage,
        "rate_source": "hourly_rate",
        "notes": ["open_compute_charged", "compute_ends", "storage_continues"],
    }


def target(of: int | Cvm, step: str = "stop", action: str = "stop", **fields: object) -> dict[str, Any]:
    """Build a target of `run.planned`."""
    given = {"status": "running", "billing": billing(), "wave": 1, **fields}
    return about(of, step, action, **given)


def about(of: int | Cvm, step: str = "stop", action: str = "stop", **fields: object) -> dict[str, Any]:
    """Build the fields of an event of a target."""
    return {"step": step, "action": action, "cvm": cvm(of) if isinstance(of, int) else of, **fields}


def asked(of: int | Cvm, at: float, **fields: object) -> TimedEvent:
    """Build an `action.intent` event."""
    given: dict[str, Any] = {"attempt": 1, **fields}
    return at, "action.intent", about(of, **given)


def accepted(of: int | Cvm, at: float, **fields: object) -> TimedEvent:
    """Build an `action.accepted` event."""
    given: dict[str, Any] = {
        "attempt": 1,
        "http_status": 200,
        "request_id": "req_1",
        "observed": False,
        "billing": {"at": "2026-11-23T08:00:01.000000Z", **billing()},
        **fields,
    }
    return at, "action.accepted", about(of, **given)


def ended(of: int | Cvm, at: float, outcome: str = "settled", **fields: object) -> TimedEvent:
    """Build the event of a target's outcome."""
    event = "target.settled" if outcome in {"settled", "gone"} else "target.failed"
    given: dict[str, Any] = {"outcome": outcome, "status": "stopped", "seconds": at, "reason": None, **fields}
    return at, event, about(of, **given)


def stopped(of: int | Cvm, at: float) -> list[TimedEvent]:
    """Build the events of a successful stop: accepted after 0.5 seconds, settled 2 seconds later."""
    return [asked(of, at), accepted(of, at + 0.5), ended(of, at + 2.5)]


def reconciled(of: int | Cvm, at: float, charged: str | None, state: str = "charged") -> TimedEvent:
    """Build a `billing.reconciled` event."""
    fields: dict[str, Any] = {
        "asked_at": "2026-11-23T09:00:00.000000Z",
        "window": {"from": "2026-11-23T08:00:00.000000Z", "to": "2026-11-23T08:10:00.000000Z"},
        "state": state,
        "expected": {"usd": "0.0125", "minutes": "7.5", "basis": "estimated"},
        "charged": {"usd": charged, "minutes": None, "basis": "observed"},
        "difference_usd": None,
        "billing_keys": [],
        "reason": None,
    }
    return at, "billing.reconciled", about(of, **fields)


def finished(at: float, code: int = 0) -> TimedEvent:
    """Build a `run.finished` event."""
    return at, "run.finished", {"ending": "completed", "exit_code": code, "counts": {}, "money": {}, "requests": 0}


BILLING = {"triggered": True, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002", "notes": []}

STORY: Story = [
    ("run.started", {"playbook": {"name": "démo"}, "cloud_url": "https://example.test"}),
    (
        "run.planned",
        {"targets": [about(number, status="running") for number in range(3)], "skipped": []},
    ),
    ("action.intent", about(0, attempt=1)),
    ("action.accepted", about(0, attempt=1, observed=False, http_status=200, request_id="r-1", billing=BILLING)),
    ("action.intent", about(1, attempt=1)),
    ("action.refused", about(1, attempt=1, http_status=403, reason="rented", request_id="r-2")),
    ("target.failed", about(1, outcome="refused", reason="rented", seconds=0.2)),
    ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5)),
    ("run.finished", {"exit_code": 6, "counts": {"settled": 1}}),
]


class LogBuilder:
    """Builds a log record by record. A second passes after each record.

    Attributes:
        run_id: the run.
        now: the moment of the next record.
        records: the records so far.
        lines: the lines of the log so far.
    """

    def __init__(self, begin: datetime = START, run_id: str = RUN_ID) -> None:
        self.run_id = run_id
        self.now = begin
        self.records: list[Record] = []
        self.lines: list[bytes] = []
        self._chain = Chain(run_id)

    @classmethod
    def start(
        cls, begin: datetime, *, playbook: str = "nightly", suffix: str = "0000", **started: object
    ) -> "LogBuilder":
        """Start the log of a run at a moment, with the run's id of that moment."""
        fields = {"playbook": {"name": playbook}, "actor": "me@here", "cloud_url": CLOUD, "simulated": False}
        return cls(begin, f"{begin:%Y%m%dT%H%M%SZ}-{suffix}").record("run.started", **{**fields, **started})

    @staticmethod
    def _cvm(number: int) -> Cvm:
        """Build a CVM with an app of its own; odd and even numbers are on different teepods."""
        return cvm(number, teepod=number % 2, app=f"{number:040x}")

    def record(self, event: str, **fields: object) -> "LogBuilder":
        """Append a record."""
        record, line = self._chain.append(event, fields, self.now)
        self.records.append(record)
        self.lines.append(line)
        return self.wait(seconds=1)

    def wait(self, **length: float) -> "LogBuilder":
        """Let time pass before the next record."""
        self.now += timedelta(**length)
        return self

    def plan(
        self, *targets: tuple[int, str, str], others: dict[int, str] | None = None, **fields: object
    ) -> "LogBuilder":
        """Append `run.planned` with targets of (number, action, status), and with the statuses of skipped CVMs."""
        skipped = [
            {"cvm": self._cvm(n), "status": status, "reason": "not selected"} for n, status in (others or {}).items()
        ]
        return self.record(
            "run.planned",
            targets=[
                target(self._cvm(number), action, action, status=status, billing=billing("0.12", "0.003"))
                for number, action, status in targets
            ],
            skipped=skipped,
            **{"steps": [], "read_at": timestamp(self.now - timedelta(seconds=1)), **fields},
        )

    def record_target(self, event: str, number: int, action: str = "stop", **fields: object) -> "LogBuilder":
        """Append a record about a target of the step with the action's name."""
        return self.record(event, **about(self._cvm(number), action, action, **fields))

    def accept(self, number: int, action: str = "stop", **note: object) -> "LogBuilder":
        """Append the records of a request and its acceptance."""
        self.record_target("action.intent", number, action, attempt=1)
        fields = {"attempt": 1, "observed": False, "billing": {**billing("0.12", "0.003"), **note}}
        return self.record_target("action.accepted", number, action, **fields)

    def end(self, number: int, action: str = "stop", outcome: str = "settled", **note: object) -> "LogBuilder":
        """Append the records of a target from its request to its outcome."""
        self.accept(number, action, **note)
        event = "target.settled" if outcome in {"settled", "gone"} else "target.failed"
        return self.record_target(event, number, action, outcome=outcome, status="stopped", seconds=1.0)

    def finish(self, code: int = 0) -> "LogBuilder":
        """Append `run.finished`."""
        return self.record("run.finished", exit_code=code, counts={}, ending="completed")

    def write(self, state_dir: Path, *, old: bool = True) -> Path:
        """Write the log to its place in a state folder, with a modification time one hour ago unless new."""
        folder = state_dir / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.run_id}.jsonl"
        path.write_bytes(b"".join(self.lines))
        if old:
            an_hour_ago = time.time() - 3600
            os.utime(path, (an_hour_ago, an_hour_ago))
        return path


def build_stop(begin: datetime, *numbers: int, suffix: str = "0000", **started: Any) -> LogBuilder:  # noqa: ANN401 - as LogBuilder.start takes
    """Build the log of a finished run that stopped these CVMs."""
    log = LogBuilder.start(begin, suffix=suffix, **started)
    log.plan(*((number, "stop", "running") for number in numbers))
    for number in numbers:
        log.end(number)
    return log.finish()


def build_log(
    story: Iterable[tuple[str, Mapping[str, Any]]], run_id: str = RUN_ID, begin: datetime = START, every: float = 1
) -> Iterator[tuple[Record, bytes]]:
    """Build the records and lines of a log, with a number of seconds between two records."""
    return build_timed_log(((number * every, *event) for number, event in enumerate(story)), run_id, begin)


def build_records(story: Iterable[tuple[str, Mapping[str, Any]]] = STORY, begin: datetime = START) -> list[Record]:
    """Build the records of a log."""
    return [record for record, _ in build_log(story, begin=begin)]


def build_timed_log(
    events: Iterable[TimedEvent], run_id: str = RUN_ID, begin: datetime = START
) -> Iterator[tuple[Record, bytes]]:
    """Build the records and lines of a log from events in the order of time."""
    chain = Chain(run_id)
    for at, event, fields in events:
        yield chain.append(event, fields, begin + timedelta(seconds=at))


def lines(story: Story = STORY) -> list[bytes]:
    return [line for _, line in build_log(story)]


def records_in(path: Path) -> list[Record]:
    records: list[Record] = []
    read_log(path, records.append)
    return records


def log(story: Story = STORY) -> bytes:
    return b"".join(lines(story))


def replay(records: Iterable[Record]) -> RunState:
    """Fold the records of a log into the state of its run."""
    state = RunState()
    for record in records:
        state.apply_record(record)
    return state


def check_log(data: bytes, take: Take = ignore_record) -> Reading:
    """Check the bytes of a log."""
    return check_lines(BytesIO(data), take)


def log_path(log: AuditLog) -> Path:
    """Return the file of an open log."""
    return Path(log.backing.location)


def write_by(log: AuditLog, sync: LogSync) -> None:
    """Run the next writes of an open log in a file by another function."""
    assert isinstance(log.backing, FileBacking)
    log.backing._sync = sync
