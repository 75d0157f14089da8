"""The inventory file: what is written is read back, and other files are refused."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.errors import UsageError
from orchestrator.playbook.schema import Protect
from orchestrator.playbook.select import derive_facts
from orchestrator.runs.inventory import InventoryReading
from orchestrator.runs.inventory_file import (
    COLUMNS,
    SavedInventory,
    build_inventory,
    inventory_schema,
    parse_inventory,
    read_inventory_file,
)
from tests.playbook.fleet import cvm

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EMPTY = {"format": "orchestrator-inventory", "version": 1, "read_at": "2026-06-01T00:00:00Z", "cvms": []}
FULL = derive_facts(
    cvm(
        instance_type="tdx.small",
        gpus=1,
        region="eu",
        creator="jane",
        creator_id="usr_1",
        created_at=NOW - timedelta(days=2),
        uptime=60.0,
        hourly_compute=Decimal("0.058"),
        disk_gb=Decimal(40),
        workspace="w",
    ),
    moment=NOW,
    price_list={},
)
BARE = cvm(2, app=None, pod=None)


def document() -> dict[str, Any]:
    reading = InventoryReading((FULL, BARE), NOW, "w", {}, is_stable=True)
    built = build_inventory(reading, Protect(name=["dev-*"]))
    return json.loads(json.dumps(built))  # type: ignore[no-any-return] # JSON of a mapping


def write(folder: Path, text: object) -> Path:
    file = folder / "inventory.json"
    file.write_text(text if isinstance(text, str) else json.dumps(text))
    return file


def test_what_is_written_fits_the_schema_and_is_read_back(tmp_path: Path) -> None:
    jsonschema.validate(document(), inventory_schema())
    saved = read_inventory_file(write(tmp_path, document()))
    assert saved == SavedInventory((FULL, BARE), NOW, "w")


def test_an_entry_has_the_keys_of_the_contract_and_null_for_the_unknown() -> None:
    full, bare = document()["cvms"]
    assert list(full)[: len(COLUMNS)] == list(COLUMNS)
    assert (full["age_s"], full["uptime_s"], full["usd_per_hour"]) == (172800, 60, "0.058")
    assert (full["creator"], full["protected_by"], full["kept_until"]) == ("jane", "name dev-*", None)
    assert {bare[key] for key in ("age_s", "uptime_s", "usd_per_hour", "creator", "region", "app_id")} == {None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([], "invalid inventory file: must be a JSON object"),
        ({"version": 2}, "has version 2, this program reads 1"),
        ({"format": "other"}, "invalid inventory file: format"),
        ({"cvms": [{"name": "x"}]}, "cvms.0.status"),
        ({"read_at": "yesterday"}, "invalid inventory file"),
        ({"read_at": "9999-12-31T23:59:59Z"}, "is not between 2000 and 2199"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, change: object, words: str) -> None:
    text = {**document(), **change} if isinstance(change, dict) else change
    with pytest.raises(UsageError) as caught:
        read_inventory_file(write(tmp_path, text))
    assert words in caught.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        read_inventory_file(tmp_path / "none.json")


def test_a_creator_without_a_username_is_the_id() -> None:
    reading = InventoryReading((replace(FULL, creator=None),), NOW, None, {}, is_stable=True)
    assert build_inventory(reading, Protect())["cvms"][0]["creator"] == "usr_1"


def test_ages_and_uptimes_grow_with_the_moment_and_prices_of_the_list_stay() -> None:
    entry = {"name": "web", "status": "running", "age_s": 60, "uptime_s": 30, "usd_per_hour": "0.2"}
    saved = parse_inventory({**EMPTY, "cvms": [entry]})
    (later,) = saved.facts_at(NOW + timedelta(hours=1))
    assert (later.age, later.uptime, later.usd_per_hour) == (3660.0, 3630.0, Decimal("0.2"))


def test_an_exemption_at_the_time_of_the_read_is_kept() -> None:
    entry = {"id": "cvm_1", "name": "web", "status": "running", "kept_until": "2026-06-02T00:00:00Z"}
    (kept,) = parse_inventory({**EMPTY, "cvms": [entry]}).keep
    assert (kept.key, kept.value, kept.until) == ("id", "cvm_1", NOW + timedelta(days=1))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"id": "cvm_1", "status": "running"}] * 2, "two CVMs have the identifier 'cvm_1'"),
        ([{"status": "running", "created_at": "2026-06-02"}], "must be a time with an offset"),
        ([{"status": "running", "age_s": -1}], "cvms.0.age_s"),
    ],
)
def test_a_contradiction_in_the_entries_is_refused(entries: list[dict[str, object]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_inventory({**EMPTY, "cvms": entries})
