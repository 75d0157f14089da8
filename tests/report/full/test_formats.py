"""The formats of a report show the same sections, and know no section by name."""

from pathlib import Path

import pytest

from orchestrator.report.full import html, markdown, text
from orchestrator.report.full.blocks import ColumnKind, Mood, Report, Section, Table, TableColumn
from orchestrator.report.full.sections import describe_report
from tests.report.told import asked, cvm, document, ended, finished, report_html, report_markdown, report_text, target

MADE = document([target(cvm(1))], asked(cvm(1), 1), ended(cvm(1), 2, "failed", reason="no power"), finished(5, 6))


def test_every_format_has_every_section_with_content() -> None:
    page, marked, plain = report_html(MADE).decode(), report_markdown(MADE), report_text(MADE)
    for section in describe_report(MADE).sections:
        assert f">{section.title}</h2>" in page
        assert f"## {section.title}\n" in marked
        assert section.is_empty or f"\n{section.title}\n" in plain


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
    shown = text.render_text(_report(Table("t", columns, [("web", "x" * 30, "7", "y" * 20)])))
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
