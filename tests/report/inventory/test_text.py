"""The inventory for people and for spreadsheets."""

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.playbook.schema import Protect
from orchestrator.report.inventory.csv import build_inventory_csv
from orchestrator.report.inventory.text import describe_totals, print_inventory
from orchestrator.runs.inventory import InventoryReading
from orchestrator.runs.inventory_file import COLUMNS, describe_cvm
from tests.playbook.fleet import cvm

FACTS = {
    "usd_per_hour": Decimal("1.5"),
    "age": 3 * 86400.0,
    "uptime": 90.0,
    "gpus": 8,
    "creator": "someone",
    "region": "eu",
}
LONG = [
    cvm(number, f"a-long-name-of-a-replica-{number}", app="a" * 40, instance_type="h200.16xlarge") for number in (1, 2)
]


def printed(width: int) -> str:
    out = StringIO()
    reading = InventoryReading(tuple(LONG), datetime(2026, 6, 1, tzinfo=UTC), None, {"region": 2}, is_stable=False)
    print_inventory(Console(file=out, width=width), reading, LONG)
    return out.getvalue()


def test_eighty_columns_hold_whole_ids_and_less_columns() -> None:
    lines = printed(80).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(cvm.ref.id in printed(40) for cvm in LONG if cvm.ref.id)
    assert "app" not in lines[0]
    assert "a" * 40 in printed(200)


def test_unknown_facts_and_a_shifting_list_are_warnings() -> None:
    assert "! 2 CVMs not listed: the fact for `region` is not known" in printed(80)
    assert "the list of CVMs changed" in printed(80)


@pytest.mark.parametrize(
    ("fleet", "text"),
    [
        ([], "0 CVMs"),
        (
            [cvm(1, **FACTS), cvm(2, status="stopped", **FACTS), cvm(3)],  # type: ignore[arg-type] # facts of any type
            "3 CVMs: 2 running, 1 stopped; up now: compute $1.5000/h, $1,095.00 a month, and 1 CVM of unknown price",
        ),
    ],
)
def test_the_totals_count_statuses_and_the_price_of_what_is_up(fleet: list[object], text: str) -> None:
    assert describe_totals(fleet) == text  # type: ignore[arg-type] # CVMs


def test_no_cell_of_the_csv_is_a_formula() -> None:
    text = build_inventory_csv([describe_cvm(cvm(name="=1+1", creator="@x", region="+y"), Protect())])
    head, row = text.splitlines()
    assert head.split(",") == list(COLUMNS)
    assert {"'=1+1", "'@x", "'+y"} <= set(row.split(","))
