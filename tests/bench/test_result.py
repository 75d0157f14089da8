"""The result of a case is the same on the terminal, in JSON and in the docs."""

import json
from pathlib import Path

import pytest

from bench import result, table
from bench.page import PAGE, PARTS, describe_sources, rewrite_page, targets_part
from bench.result import CaseResult, Target


@pytest.fixture
def case() -> CaseResult:
    case = CaseResult("single", "A thousand CVMs")
    case.targets = [
        Target("time over the bound", "ours", "time_over_bound", 1.02),
        Target("stops/s", "ours", "stops_per_second", 100, at_most=False),
        Target("requests a CVM", "theirs", "requests_a_cvm", 1.03),
    ]
    for time, stops in ((1.01, 90.0), (1.5, 110.0), (1.0, 120.0)):
        case.row("ours").add_values(time_over_bound=time, stops_per_second=stops, requests_a_cvm=None)
    return case


def test_the_median_decides_if_a_target_is_reached(case: CaseResult) -> None:
    assert [target.is_reached(case.spread(target)) for target in case.targets] == [True, True, None]


def test_a_missed_target_is_reported(case: CaseResult) -> None:
    case.row("ours").add_values(time_over_bound=1.6)
    case.row("ours").add_values(time_over_bound=1.7)
    assert case.targets[0].is_reached(case.spread(case.targets[0])) is False


def test_a_case_is_read_back_from_its_document(case: CaseResult, tmp_path: Path) -> None:
    case.add_note("measured by night")
    case.add_note("measured by night")
    path = result.write_document(case.to_document({"cpu_cores": 2}, runs=3), tmp_path)
    assert json.loads(path.read_text())["machine"] == {"cpu_cores": 2}
    back = result.read_case(result.read_documents(tmp_path)["single"])
    assert back.targets == case.targets
    assert back.notes == ["measured by night"]
    assert back.row("ours").figures == case.row("ours").figures


def test_the_table_has_a_line_for_each_target(case: CaseResult) -> None:
    lines = table.targets_table([case]).splitlines()
    assert lines[0].split()[-2:] == ["reach", "reached"]
    assert [line.split("  ")[-1].strip() for line in lines[1:]] == ["yes", "yes", "not measured"]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (3.0, "3"), (0.0712, "0.071"), (1.034, "1.03"), (26.71, "26.7"), (9876.5, "9,876")]
)
def test_a_figure_is_formatted_with_significant_digits(value: float, text: str) -> None:
    assert table.format_number(value) == text


def test_the_docs_give_median_and_range(case: CaseResult) -> None:
    part = targets_part({"single": case.to_document({}, runs=3)})
    assert "| `single` | ours | time over the bound | 1.01 (1 to 1.50) | ≤ 1.02 | yes |" in part


def test_the_page_has_the_kept_figures() -> None:
    """No figure in the docs was typed by hand. Measurements that are newer than the page are not in it yet."""
    text, documents = PAGE.read_text(encoding="utf-8"), result.read_documents()
    if describe_sources(documents) in text and ("made from" in text) == bool(documents):
        assert rewrite_page(text, documents) == text


def test_the_page_has_every_part(case: CaseResult) -> None:
    facts = dict.fromkeys(("measured_at", "cpu_model", "cpu_cores", "system", "file_system", "python"), "x")
    document = case.to_document({**facts, "memory_mib": 2048, "versions": {"httpx": "1"}}, runs=3)
    text = rewrite_page(PAGE.read_text(encoding="utf-8"), {"single": document})
    assert "Nothing is kept yet" not in text
    for name, part in PARTS.items():
        assert f"<!-- measured: {name} -->\n{part({'single': document})}" in text
