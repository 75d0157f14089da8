"""Fleet runs of earlier versions can be read, and say the same as they did then."""

from pathlib import Path
from typing import Any

import pytest

from tests.released.commands import carry_out
from tests.released.reading import cases_of, copy_of

HERE = Path(__file__).parent
CASES = [
    pytest.param(file.parent, name, each["fleet_id"], id=f"{file.parent.name} {name}")
    for file in sorted(HERE.glob("*/cases.json"))
    for name, each in cases_of(file.parent).items()
    if "fleet_id" in each
]
EXPECTED: dict[str, dict[str, Any]] = {
    "fleet": {"exit_code": 0, "verified": 0, "counts": {"settled": 12}, "running": "finished"},
    "fleet_interrupted": {"exit_code": 143, "verified": 7, "counts": None, "running": "unfinished"},
}


def test_there_are_fleet_runs_of_both_kinds() -> None:
    assert {case.values[1] for case in CASES} == {*EXPECTED}


@pytest.mark.parametrize(("version", "name", "fleet_id"), CASES)
def test_a_fleet_run_says_the_same_as_then(version: Path, name: str, fleet_id: str, tmp_path: Path) -> None:
    commands = [
        ["show", fleet_id, "--json"],
        ["audit", "verify", fleet_id, "--json"],
        ["runs", "--fleet", fleet_id, "--json"],
        ["report", fleet_id, "--json"],
        ["audit", "show", fleet_id],
    ]
    shown, verified, listed, report, told = carry_out(commands, copy_of(version, tmp_path), tmp_path)
    expected = EXPECTED[name]
    assert shown.document["exit_code"] == expected["exit_code"]
    assert verified.code == expected["verified"]
    assert [fleet["agrees"] for fleet in verified.document["fleets"]] == [True]
    assert sorted(run["workspace_name"] for run in listed.document) == ["eu", "us"]
    assert report.document["fleet"]["state"] == expected["running"]
    assert report.document["totals"]["targets"] == 12
    assert "planned: 2 runs with 12 targets" in told.out
    if expected["counts"] is not None:
        assert shown.document["totals"]["counts"] == expected["counts"]
