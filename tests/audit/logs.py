"""Logs to try things on."""

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.audit.record import Chain, Record
from orchestrator.audit.verify import read_log

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


def lines(story: list[tuple[str, dict[str, Any]]] = STORY) -> list[bytes]:
    chain, tick = Chain(RUN_ID), count()
    return [chain.append(event, fields, START + timedelta(seconds=next(tick)))[1] for event, fields in story]


def records_in(path: Path) -> list[Record]:
    records: list[Record] = []
    read_log(path, records.append)
    return records


def log(story: list[tuple[str, dict[str, Any]]] = STORY) -> bytes:
    return b"".join(lines(story))
