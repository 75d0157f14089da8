"""Every file that a released version wrote can be read, and says the same as it did then."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dirty_equals import IsPartialDict

from tests.released.commands import Output, carry_out
from tests.released.reading import cases_of, copy_of, facts, outcomes_in_table, read_runs, read_savings

HERE = Path(__file__).parent
VERSIONS = sorted(path.parent for path in HERE.glob("*/expected.json"))
CASES = [
    pytest.param(version, case, id=f"{version.name} {case}")
    for version in VERSIONS
    for case, each in cases_of(version).items()
    if "run_id" in each
]
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)

Read = Mapping[str, Mapping[str, Output]]


@cache
def expected_of(version: Path) -> dict[str, Any]:
    """How the version itself read its files."""
    expected: dict[str, Any] = json.loads((version / "expected.json").read_text())
    return expected


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Read]:
    """What this version says about every run of every version."""
    return {version: read_runs(version, tmp_path_factory.mktemp("state")) for version in VERSIONS}


def test_there_are_files_of_a_released_version() -> None:
    assert "0.1" in [version.name for version in VERSIONS]


@pytest.mark.parametrize(("version", "case"), CASES)
def test_a_run_verifies_and_shows_the_outcomes_counts_and_money_of_then(
    read: dict[Path, Read], version: Path, case: str
) -> None:
    expected = expected_of(version)["runs"][case]
    found = facts(read[version][case])
    assert found | {"money": None} == expected | {"money": None}
    assert found["money"] == expected["money"]


@pytest.mark.parametrize(("version", "case"), CASES)
def test_every_form_of_a_report_and_of_an_export_is_of_that_run(
    read: dict[Path, Read], version: Path, case: str
) -> None:
    expected, outputs = expected_of(version)["runs"][case], read[version][case]
    names = set(expected["outcomes"])
    assert {name: output.code for name, output in outputs.items() if output.code} == (
        {"verify": expected["verify"]} if expected["verify"] else {}
    )
    report = outputs["report"].document
    assert report["run"]["exit_code"] == (expected["exit_code"] if expected["verify"] == 0 else None)
    assert {each["cvm"]["name"] for each in report["targets"]} == names
    assert names == {name for name in names if name in outputs["report as html"].out}
    if expected["verify"] == 0:
        assert outcomes_in_table(outputs["report as csv"]) == expected["outcomes"]
    for form in (
        "show as text",
        "report as text",
        "report as md",
        "report as html",
        "audit show as text",
        "export as ecs",
        "export as jsonl",
        "export as csv",
    ):
        assert cases_of(version)[case]["run_id"] in outputs[form].out, form
    whole = [json.loads(line) for line in outputs["export as jsonl"].out.splitlines()]
    assert [record["seq"] for record in whole] == list(range(1, len(whole) + 1))
    assert len(outputs["export as ecs"].out.splitlines()) == len(whole)
    assert outputs["audit show"].document["run_id"] == cases_of(version)[case]["run_id"]


@every_version
def test_the_runs_are_listed_and_those_that_can_go_on_are_found(version: Path, tmp_path: Path) -> None:
    everything, unfinished, plain = carry_out(
        [["runs", "--json", "--limit", "100"], ["runs", "--unfinished", "--json"], ["runs", "--limit", "100"]],
        copy_of(version, tmp_path),
        tmp_path,
    )
    cases, expected = cases_of(version), expected_of(version)["runs"]
    rows = {row["run_id"]: row for row in everything.document}
    assert set(rows) == {cases[case]["run_id"] for case in expected}
    for case, each in expected.items():
        assert rows[cases[case]["run_id"]] == IsPartialDict(counts=each["counts"]), case
        assert cases[case]["run_id"] in plain.out
    assert {row["run_id"] for row in unfinished.document} == {
        cases[case]["run_id"] for case, each in expected.items() if each["verify"]
    }


@every_version
def test_the_savings_of_the_runs_are_those_of_then(version: Path, tmp_path: Path) -> None:
    expected = expected_of(version)["savings"]
    total = read_savings(version, tmp_path, expected["since"], expected["until"])
    assert total == IsPartialDict({key: expected[key] for key in ("times", "cvms", "hours", "compute_usd")})
    assert total["storage_usd"] == expected["storage_usd"]
    assert total["charges"]["charged_usd"] == expected["charged_usd"]


@every_version
def test_a_seal_holds_with_the_public_key_of_then_and_a_cut_end_is_found(version: Path, tmp_path: Path) -> None:
    environment = copy_of(version, tmp_path)
    run_id = cases_of(version)["sealed"]["run_id"]
    verify = ["audit", "verify", run_id, "--public-key", str(version / "seal.pub.pem")]
    (whole,) = carry_out([verify], environment, tmp_path)
    log = tmp_path / "state" / "runs" / f"{run_id}.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-3]))
    (cut,) = carry_out([verify], environment, tmp_path)
    assert (whole.code, cut.code) == (0, 6)


@every_version
def test_no_key_and_no_path_of_the_machine_is_in_the_files(version: Path) -> None:
    for path in version.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "phak_" not in text, path
            assert "PRIVATE KEY" not in text, path
            assert re.search(r"/(root|home|work|Users|var|private)/", text) is None, path
