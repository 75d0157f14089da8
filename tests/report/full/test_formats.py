"""The formats of a report have the same sections, and text from outside is never markup."""

import csv
import unicodedata
from html import unescape as html_unescape
from io import StringIO
from pathlib import Path

import pytest

from orchestrator.report.full import html, markdown, text
from orchestrator.report.full.blocks import ColumnKind, Mood, Report, Section, Table, TableColumn
from orchestrator.report.full.csv import COLUMNS, build_report_csv
from orchestrator.report.full.markdown import escape_markdown
from orchestrator.report.full.sections import describe_report
from tests.logs import about, asked, cvm, ended, finished, reconciled, stopped, target
from tests.report.documents import HOSTILE, document, hostile, report_html, report_markdown, report_text

MADE = document([target(cvm(1))], asked(cvm(1), 1), ended(cvm(1), 2, "failed", reason="no power"), finished(5, 6))


def test_every_format_has_every_section_with_content() -> None:
    page, marked, plain = report_html(MADE).decode(), report_markdown(MADE), report_text(MADE)
    for section in describe_report(MADE).sections:
        assert f">{section.title}</h2>" in page
        assert f"## {section.title}\n" in marked
        assert section.is_empty or f"\n{section.title}\n" in plain


def test_every_format_says_how_a_run_was_narrowed() -> None:
    narrowed = {"only": {"name": ["web-*"]}, "exclude": [{"teepod": "b"}]}
    made = {**MADE, "run": {**MADE["run"], "narrowed": narrowed}}
    for shown in (report_html(made).decode(), html_unescape(report_markdown(made)), report_text(made)):
        assert "Narrowed by" in shown
        assert "--exclude teepod=b" in shown
        assert "name=web-" in shown
    assert "Narrowed by" not in report_text(MADE)


@pytest.mark.parametrize("renderer", [html, markdown, text])
def test_a_renderer_knows_no_section_by_name(renderer: object) -> None:
    source = Path(str(renderer.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert not [section.title for section in describe_report(MADE).sections if f'"{section.title}"' in source]
    assert "sections" not in {line.split(".")[-1] for line in source.splitlines() if line.startswith("from ")}


def _report(table: Table) -> Report:
    return Report("p", "r", "-", "done", Mood.GOOD, [Section("s", "Things", [table])], "-")


def test_a_wide_table_loses_its_columns_by_rank_in_text() -> None:
    columns = (
        TableColumn("name"),
        TableColumn("least important", rank=2),
        TableColumn("amount", ColumnKind.NUMBER),
        TableColumn("other", rank=1),
    )
    shown = text.render_text(_report(Table("t", columns, [("web", "x" * 30, "7", "y" * 20)])), 60)
    assert "least" not in shown
    assert f"  web   {' ' * 5}7  {'y' * 20}" in shown


def test_a_table_too_wide_for_its_columns_is_a_paragraph_a_row_in_text() -> None:
    columns = TableColumn("name"), TableColumn("why", ColumnKind.SENTENCE)
    shown = text.render_text(_report(Table("t", columns, [("web", "word " * 20)])))
    assert "  web\n    why: word word" in shown


def test_a_page_hides_the_rows_after_the_first_ones() -> None:
    made = html.render_html(
        _report(Table("Items", [TableColumn("name")], [(str(n),) for n in range(7)], shown=3))
    ).decode()
    assert "<summary>Items, 4 to 7 of 7</summary>" in made


ONE, TWO = cvm(1), cvm(2)
REFUSED = (2, "action.refused", about(TWO, reason="HTTP 403: no", http_status=403, attempt=1))
EVENTS = [*stopped(ONE, 1), asked(TWO, 1), REFUSED, ended(TWO, 2, "refused", reason="HTTP 403: no"), finished(5, 6)]
DOCUMENT = document([target(ONE), target(TWO)], *EVENTS, reconciled(ONE, 6, "0.0125"))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_text_has_the_ending_the_failures_and_the_verify_command() -> None:
    text = report_text(DOCUMENT)
    for fact in (
        "Completed with problems: 1 of 2 CVMs stopped (exit 6)",
        "HTTP 403: no",
        "orchestrator audit verify",
        "$0.01 for 1",
    ):
        assert fact in text


def test_text_fits_the_width_except_digests_and_paths() -> None:
    report = document([target(ONE), target(TWO)], *EVENTS, actor="a" * 30 + "@host", variables={"teepod": "word " * 40})
    described = describe_report(report)
    for width in (60, 80, 100):
        long = [line for line in text.render_text(described, width).splitlines() if len(line) > width]
        assert all(line.split()[0] in {"Digest", "SHA-256", "Playbook"} or "/" in line for line in long), long


def test_text_is_at_most_a_hundred_columns_wide() -> None:
    report = describe_report(document([target(ONE), target(TWO)], *EVENTS, variables={"teepod": "word " * 40}))
    assert text.render_text(report, 500) == text.render_text(report, 100)


def test_text_has_no_control_characters() -> None:
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
    found = rows(build_report_csv(DOCUMENT))
    assert [row["name"] for row in found] == ["web-1", "web-2"]
    assert list(found[0]) == [column for column in COLUMNS if column != "workspace"]
    assert [(row["outcome"], row["charged_usd"], row["charge_state"]) for row in found] == [
        ("settled", "0.0125", "charged"),
        ("refused", "", ""),
    ]


def test_no_cell_of_csv_is_a_formula() -> None:
    cells = [cell for row in csv.reader(StringIO(build_report_csv(hostile()))) for cell in row]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_csv_has_a_line_for_each_target_with_any_name() -> None:
    assert len(rows(build_report_csv(hostile()))) == len(HOSTILE)


def test_a_run_without_targets_has_every_format() -> None:
    empty = document([])
    assert "not finished" in report_text(empty).lower()
    assert report_markdown(empty).startswith("# Run of everything")
    assert rows(build_report_csv(empty)) == []


@pytest.mark.parametrize(
    "plain",
    ["3.5 s", "12:30:45", "settle: 2 of 3 (66 %)", "max_targets: 3", "a{b}!", "root@vm", "$3.30/h, $0.23 a month"],
)
def test_markdown_keeps_plain_text_as_text(plain: str) -> None:
    assert markdown.escape_markdown(plain) == plain


@pytest.mark.parametrize(
    "markup",
    [
        *("1. x", "12) x", "https://a.b", "www.a.b", ":smile:", ":+1:", ":100:", "_x_", "- x", "[x](y)", "#1"),
        *("@x", "é@x", "a@b.c", "a-@x", "$x$", "$3x$", "$$3"),
    ],
)
def test_markdown_escapes_markup(markup: str) -> None:
    escaped = markdown.escape_markdown(markup)
    assert escaped != markup
    assert html_unescape(escaped) == markup


def test_markdown_keeps_a_cell_with_only_a_dash_plain() -> None:
    table = Table("", [TableColumn("exit"), TableColumn("name")], [["-", "1. x"]])
    assert "| - | 1. x |" in list(markdown.render_block(table))
