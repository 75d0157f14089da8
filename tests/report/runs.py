"""Plans and replayed runs for tests of texts, with hostile names."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.value_types import Share
from orchestrator.runs.records import planned_fields
from tests.logs import build_records, replay
from tests.playbook.loading import playbook

EVIL = "[red]x[/]\x1b[2J\u202egnp\u200b\n\0:smile:"
LIMITS = RunLimits(5.0, 5, 10, 10, Share(Decimal(10), percent=True))


def cvm(number: int, name: str, **fields: Any) -> Cvm:  # noqa: ANN401 - any field of it
    ref = CvmRef(
        f"cvm_{number}",
        f"{number:032x}",
        name,
        fields.pop("app", "a1"),
        fields.pop("pod", 1),
        fields.pop("teepod", "prod-1"),
    )
    return Cvm(ref=ref, status=fields.pop("status", "running"), **fields)


FLEET = [
    cvm(1, EVIL, hourly_compute=Decimal("0.10"), disk_gb=Decimal(10), teepod=EVIL),
    cvm(2, "b", gpus=1, status="error"),
    cvm(3, "kms-1"),
    cvm(4, "d", status=f"stopped{EVIL}"),
    cvm(5, "e", status="stopped"),
]


def plan(fleet: list[Cvm] | None = None, **guards: object) -> Plan:
    book = playbook(
        {"all": "true"}, guards={"protect": {"name": "kms-*"}, "max_targets": 9, "max_percent": 80, **guards}
    )
    return make_plan(
        book,
        FLEET if fleet is None else fleet,
        guards=merge_guards(book.guards, Guards()),
        limits=LIMITS,
        settle_timeout=600,
        price_list={},
        storage_usd_per_gb_hour=Decimal("0.000139"),
        batch_size=100,
        more_warnings=[PlanWarning(WarningCode.LIST_SHIFTING, f"careful {EVIL}")],
    )


def records(made: Plan, *events: tuple[str, dict[str, Any]]) -> list[Record]:
    """Build the log records of a run of a plan."""
    story: list[tuple[str, dict[str, Any]]] = [
        ("run.started", {"playbook": {"name": "example"}}),
        ("run.planned", planned_fields(made, 5)),
        *events,
    ]
    return build_records(story, datetime.fromtimestamp(0, UTC))


def run(*events: tuple[str, dict[str, Any]], made: Plan | None = None) -> RunState:
    return replay(records(made or plan(), *events))


def about(number: int, made: Plan | None = None, **fields: object) -> dict[str, Any]:
    """Build the fields of an event of a target."""
    target = (made or plan()).targets[number]
    return {"step": target.step, "action": target.action, "cvm": target.cvm.ref.document(), **fields}


def console(width: int = 200, height: int = 25) -> tuple[Console, StringIO]:
    """Make a console with styles that writes into memory."""
    file = StringIO()
    made = Console(
        file=file, width=width, height=height, force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    return made, file


STYLE = re.compile(r"\x1b\[[0-9;]*m")
LOG = Path(f"/state/{EVIL}/run.jsonl")


def is_tame(text: str) -> bool:
    """Check a text for characters other than visible ones, line breaks and own styles."""
    plain = STYLE.sub("", text)
    return all(char == "\n" or char.isprintable() for char in plain) and "\u202e" not in plain


BILLING = {"triggered": True, "compute_usd_per_hour": "0.1", "storage_usd_per_hour": "0.002", "notes": []}
STOPPED = [
    ("action.intent", about(0, attempt=1)),
    ("action.accepted", about(0, attempt=1, billing=BILLING, request_id="r1")),
    ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5)),
]
REFUSED = [
    ("action.intent", about(1, attempt=1)),
    ("action.refused", about(1, attempt=1, reason=f"rented {EVIL}", request_id=f"r2{EVIL}")),
    ("target.failed", about(1, outcome="refused", reason=f"rented {EVIL}", seconds=0.2)),
]


PODS = {f"prod-{n}": n for n in range(1, 7)}


def large_fleet(cvms: int = 930) -> list[Cvm]:
    """Build CVMs of 310 apps on six teepods, at $0.10 an hour each."""
    pods = list(PODS.items())
    return [
        cvm(
            n,
            f"{('web', 'db', 'batch')[n % 3]}-{n}",
            app=f"{n // 3:040x}",
            teepod=pods[n % 6][0],
            pod=pods[n % 6][1],
            hourly_compute=Decimal("0.1"),
            disk_gb=Decimal(20),
        )
        for n in range(cvms)
    ]
