"""A report as text, Markdown and CSV."""

import csv
import unicodedata
from io import StringIO

import pytest

from orchestrator.report.full.csv import COLUMNS, build_report_csv
from orchestrator.report.full.markdown import escape_markdown
from tests.report.told import (
    HOSTILE,
    about,
    asked,
    cvm,
    document,
    ended,
    finished,
    hostile,
    reconciled,
    report_markdown,
    report_text,
    stopped,
    target,
)

ONE, TWO = cvm(1), cvm(2)
REFUSED = (2, "action.refused", about(TWO, reason="HTTP 403: no", http_status=403, attempt=1))
EVENTS = [*stopped(ONE, 1), asked(TWO, 1), REFUSED, ended(TWO, 2, "refused", reason="HTTP 403: no"), finished(5, 6)]
TOLD = document([target(ONE), target(TWO)], *EVENTS, reconciled(ONE, 6, "0.0125"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_text_says_how_the_run_ended_why_a_cvm_failed_and_how_to_verify_the_log() -> None:
    text = report_text(TOLD)
    for fact in (
        "Completed with problems: 1 of 2 CVMs stopped (exit 6)",
        "HTTP 403: no",
        "orchestrator audit verify",
        "$0.01 for 1",
    ):
        assert fact in text


def test_text_holds_in_sixty_columns_but_for_digests_and_paths() -> None:
    told = document([target(ONE), target(TWO)], *EVENTS, actor="a" * 30 + "@host", variables={"teepod": "word " * 40})
    long = [line for line in report_text(told).splitlines() if len(line) > 60]
    assert all(line.split()[0] in {"Digest", "SHA-256", "Playbook"} or "/" in line for line in long), long


def test_text_has_no_control_characters_whatever_others_wrote() -> None:
    text = report_text(hostile())
    assert {char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs"}} <= {"\n"}


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_has_no_markup_of_others(name: str) -> None:
    safe = escape_markdown(name)
    assert not set("<>[]`*_|@\n") & set(safe)
    assert "http://" not in safe
    assert "&lt;" not in safe


def test_markdown_tables_have_as_many_cells_in_every_row() -> None:
    widths = set()
    for line in [*report_markdown(hostile()).splitlines(), ""]:
        if line.startswith("|"):
            widths.add(line.count("|"))
        else:
            assert len(widths) <= 1, line
            widths.clear()


def test_csv_has_one_line_a_target_and_the_documented_columns() -> None:
    found = rows(build_report_csv(TOLD))
    assert [row["name"] for row in found] == ["web-1", "web-2"]
    assert list(found[0]) == list(COLUMNS)
    assert [(row["outcome"], row["charged_usd"], row["charge_state"]) for row in found] == [
        ("settled", "0.0125", "charged"),
        ("refused", "", ""),
    ]


def test_no_cell_of_csv_can_be_taken_for_a_formula() -> None:
    cells = [cell for row in csv.reader(StringIO(build_report_csv(hostile()))) for cell in row]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_csv_has_a_line_for_each_target_whatever_its_name() -> None:
    assert len(rows(build_report_csv(hostile()))) == len(HOSTILE)


def test_a_run_without_targets_can_be_told_in_every_form() -> None:
    empty = document([])
    assert "not finished" in report_text(empty).lower()
    assert report_markdown(empty).startswith("# Run of everything")
    assert rows(build_report_csv(empty)) == []
