"""Logs for tests: one builder, and a small log."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.audit.record import Chain, Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Reading, Take, check_lines, drop, read_log

RUN_ID = "20261123T080000Z-4f2a"
START = datetime(2026, 11, 23, 8, tzinfo=UTC)


def cvm(number: int) -> dict[str, Any]:
    return {
        "id": f"cvm_{number}",
        "vm_uuid": None,
        "name": f"wéb-{number}",
        "app_id": None,
        "teepod_id": 1,
        "teepod": "prod-1",
    }


def about(number: int, **fields: object) -> dict[str, Any]:
    return {"step": "stop", "action": "stop", "cvm": cvm(number), **fields}


BILLING = {"triggered": True, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002", "notes": []}

STORY: list[tuple[str, dict[str, Any]]] = [
    ("run.started", {"playbook": {"name": "démo"}, "cloud_url": "https://example.test"}),
    (
        "run.planned",
        {
            "targets": [{"step": "stop", "action": "stop", "cvm": cvm(n), "status": "running"} for n in range(3)],
            "skipped": [],
        },
    ),
    ("action.intent", about(0, attempt=1)),
    ("action.accepted", about(0, attempt=1, observed=False, http_status=200, request_id="r-1", billing=BILLING)),
    ("action.intent", about(1, attempt=1)),
    ("action.refused", about(1, attempt=1, http_status=403, reason="rented", request_id="r-2")),
    ("target.failed", about(1, outcome="refused", reason="rented", seconds=0.2)),
    ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5)),
    ("run.finished", {"exit_code": 6, "counts": {"settled": 1}}),
]


def build_log(
    story: Iterable[tuple[str, Mapping[str, Any]]], run_id: str = RUN_ID, begin: datetime = START
) -> Iterator[tuple[Record, bytes]]:
    """Build the records and lines of a log, with a second between two records."""
    chain, tick = Chain(run_id), count()
    for event, fields in story:
        yield chain.append(event, fields, begin + timedelta(seconds=next(tick)))


def lines(story: list[tuple[str, dict[str, Any]]] = STORY) -> list[bytes]:
    return [line for _, line in build_log(story)]


def records_in(path: Path) -> list[Record]:
    records: list[Record] = []
    read_log(path, records.append)
    return records


def log(story: list[tuple[str, dict[str, Any]]] = STORY) -> bytes:
    return b"".join(lines(story))


def replay(records: Iterable[Record]) -> RunState:
    """Fold the records of a log into the state of its run."""
    state = RunState()
    for record in records:
        state.apply(record)
    return state


def check_log(data: bytes, take: Take = drop) -> Reading:
    """Check the bytes of a log."""
    return check_lines(BytesIO(data), take)
