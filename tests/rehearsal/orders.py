"""Orders of rehearsals for tests: a small fleet, a playbook, faults."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schema import Playbook
from orchestrator.rehearsal.assumptions import assume
from orchestrator.rehearsal.faults import FaultFile
from orchestrator.rehearsal.fleet import Fleet
from orchestrator.rehearsal.rehearse import Rehearsal, Rehearsed, rehearse
from orchestrator.rehearsal.result import build_result
from orchestrator.runs.api_profile import ApiProfile
from orchestrator.runs.session import limits_of
from orchestrator.settings.load import Settings

READ_AT = datetime(2026, 11, 26, 12, tzinfo=UTC)


def make_cvm(number: int, **facts: Any) -> Cvm:  # noqa: ANN401 - any fact
    """A running CVM on one of three teepods."""
    ref = CvmRef(
        id=f"cvm_{number:04}",
        vm_uuid=f"00000000-0000-4000-8000-{number:012}",
        name=f"api-{number}",
        app_id=f"{number // 4:040x}",
        teepod_id=number % 3,
        teepod=f"prod-{number % 3}",
    )
    defaults: dict[str, Any] = {"status": "running", "hourly_compute": Decimal("0.5"), "billing_period": "hourly"}
    return Cvm(ref=ref, **{**defaults, **facts})


def make_order(
    steps: list[dict[str, Any]] | None = None,
    *,
    cvms: int = 12,
    settle: str = "2s..6s",
    faults: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    playbook: dict[str, Any] | None = None,
    **more: Any,  # noqa: ANN401 - any attribute of the order
) -> Rehearsal:
    """An order to rehearse a playbook on a fleet of running CVMs."""
    steps = steps or [{"action": "stop", "select": {"all": True}}]
    made = Playbook.model_validate({"name": "night", "steps": steps, **(playbook or {})})
    effective = Settings.model_validate(settings or {})
    return Rehearsal(
        loaded=LoadedPlaybook(made, Path("night.yaml"), "0" * 64, b"", {}),
        settings=effective,
        limits=limits_of(made.limits, effective),
        fleet=more.pop("fleet", None) or Fleet(tuple(map(make_cvm, range(cvms))), READ_AT, "wks_1", "a test"),
        cloud_url="https://cloud.invalid/api/v1",
        assumptions=assume(ApiProfile(), settle, 0.0),
        faults=FaultFile.model_validate({"version": 1, **(faults or {})}),
        **more,
    )


def run_order(order: Rehearsal, seed: int = 0) -> tuple[dict[str, Any], Rehearsed]:
    """Rehearse, and return the document of the result."""
    with TemporaryDirectory() as folder:
        found = rehearse(order, seed, Path(folder))
        return build_result(order, found), found
