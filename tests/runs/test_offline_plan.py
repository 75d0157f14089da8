"""Plans from saved CVMs: exemptions and freezes at the time of the read, and no fact is read."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestrator.playbook.load import load_source
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.source import parse_source
from orchestrator.runs.inventory_file import InventoryCvm, collect_cvms
from orchestrator.runs.offline_plan import plan_offline
from orchestrator.runs.prepare import Overrides
from orchestrator.settings.load import Settings
from orchestrator.settings.model import KeepSection

MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLAYBOOK = """
name: night
guards: {not_during: {timezone: UTC, on: SAT..SUN}}
steps:
  - {name: all, action: stop, select: {name: "dev-*", up_longer_than: 1h}}
"""


def plan(*entries: InventoryCvm, settings: Settings | None = None, **options: object) -> Plan:
    loaded = load_source(parse_source(PLAYBOOK.encode(), Path("night.yaml")), {})
    saved = collect_cvms(entries, MONDAY)
    return anyio.run(partial(plan_offline, settings or Settings(), loaded, saved, **options))  # type: ignore[arg-type] # options


def entry(name: str, **facts: object) -> InventoryCvm:
    return InventoryCvm.model_validate({"id": f"cvm_{name}", "name": name, "status": "running", **facts})


UP = {"uptime_s": 7200}


def test_an_unknown_uptime_stays_unknown() -> None:
    found = plan(entry("dev-1", **UP), entry("dev-2"))
    assert [target.cvm.ref.name for target in found.targets] == ["dev-1"]
    assert found.unknown_facts == {"up_longer_than": 1}


def test_exemptions_of_the_inventory_and_of_the_settings_hold(tmp_path: Path) -> None:
    file = tmp_path / "keep.yaml"
    file.write_text("keep: [{name: dev-2, until: 2026-12-24, owner: jane, reason: demo}]")
    settings = Settings(keep=KeepSection(file=file))
    cvms = (entry("dev-1", kept_until="2026-11-24T00:00:00Z", **UP), entry("dev-2", **UP), entry("dev-3", **UP))
    found = plan(*cvms, settings=settings)
    assert [target.cvm.ref.name for target in found.targets] == ["dev-3"]
    assert {each.why.code.value for each in found.skipped} == {"kept"}
    assert len(plan(*cvms, settings=settings, overrides=Overrides(ignore_keep="incident")).targets) == 3


@pytest.mark.parametrize(("day", "is_allowed"), [(23, True), (28, False)])
def test_a_freeze_is_checked_at_the_moment_of_the_plan(day: int, *, is_allowed: bool) -> None:
    found = plan(entry("dev-1", **UP), moment=MONDAY.replace(day=day))
    (check,) = (each for each in found.guards if each.name == "not_during")
    assert check.ok is is_allowed
