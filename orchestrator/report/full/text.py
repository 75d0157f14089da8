"""A report as plain text for a terminal. Lines fit the given width, except for unbreakable words."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import assert_never

from orchestrator.report.full.blocks import (
    Bar,
    Block,
    Cell,
    Code,
    ColumnKind,
    Commands,
    Counts,
    CvmName,
    Facts,
    Heading,
    Items,
    Paragraph,
    Report,
    RowChart,
    Section,
    Table,
    TableColumn,
    TableGroups,
    TimeChart,
)
from orchestrator.text import safe_text

PIPE_WIDTH = 80
WIDEST = 100
"""Longer lines are hard to read."""

_GAP = 2
_MOST = 50
_LONGEST_NAME = 40
_NARROWEST = 40


def render_text(report: Report, width: int = PIPE_WIDTH) -> str:
    """Render the whole report, in at most `WIDEST` columns."""
    width = max(_NARROWEST, min(width, WIDEST))
    head = [
        *_wrap_text(f"{report.noun} {report.run_id} of {report.playbook}", width),
        *_wrap_text(report.headline, width),
    ]
    sections = ["\n".join(_render_section(section, width)) for section in report.sections if not section.is_empty]
    return "\n\n".join(["\n".join(head), *sections, "\n".join(_wrap_text(report.foot, width))]) + "\n"


def _wrap_text(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        safe_text(text, 2000), width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _render_section(section: Section, width: int) -> Iterator[str]:
    yield section.title
    for block in section.blocks:
        yield from _render_block(block, width)


def _render_block(block: Block, width: int) -> Iterator[str]:  # noqa: C901, PLR0912 - a case for every type
    match block:
        case Facts():
            longest = max(len(name) for name, _ in block.pairs) + _GAP
            for name, value in block.pairs:
                yield from _render_fact(name.ljust(longest), value, width)
        case Counts():
            for each in block.counts:
                yield from _wrap_text(
                    f"{each.mark or ' '} {each.word:<12} {each.meaning}", width, f"  {each.number:>7,} ", " " * 25
                )
        case Heading():
            yield f"  {block.text}:"
        case Paragraph():
            yield from () if block.is_note else _wrap_text(block.text, width, "  ", "  ")
        case Items():
            for item in block.items[:_MOST]:
                yield from _wrap_text(item, width, "  - ", "    ")
            yield from _mention_rest(block.items)
        case Commands():
            yield from (f"    {safe_text(line, 4096)}" for line in block.lines)
        case Table():
            yield from _render_table(block, width)
        case TableGroups():
            for group in block.groups[:_MOST]:
                yield from _wrap_text(group.title, width, "    ", "      ")
            yield from _mention_rest(block.groups)
        case TimeChart():
            yield from _wrap_text(block.summary, width, "  ", "  ")
        case RowChart():
            pass
        case _:
            assert_never(block)


def _render_fact(name: str, value: Cell, width: int) -> Iterator[str]:
    if isinstance(value, Code):
        yield f"  {name}{_cell_text(value)}"
    else:
        yield from _wrap_text(_cell_text(value), width, f"  {name}", " " * (len(name) + 2))


def _mention_rest(items: Sequence[object]) -> Iterator[str]:
    if len(items) > _MOST:
        yield f"  and {len(items) - _MOST:,} more: --format json"


def _cell_text(cell: Cell) -> str:
    match cell:
        case CvmName():
            return safe_text(cell.name, _LONGEST_NAME)
        case Code():
            return safe_text(cell.text, 4096)
        case Bar():
            return ""
        case _:
            return safe_text(cell, 2000)


def _render_table(table: Table, width: int) -> Iterator[str]:
    """Show columns side by side if the table fits; otherwise a paragraph for every row.

    Columns with a rank are left out of a table wider than the page.
    """
    kept = [number for number, column in enumerate(table.columns) if column.kind is not ColumnKind.BAR]
    rows = [[_cell_text(cell) for cell in row] for row in table.rows[:_MOST]]
    foot = [] if table.foot is None else [[_cell_text(cell) for cell in table.foot]]
    widths = [
        max(len(row[number]) for row in [*rows, *foot, [column.title for column in table.columns]])
        for number, column in enumerate(table.columns)
    ]
    while sum(widths[number] + _GAP for number in kept) > width and (
        ranked := [number for number in kept if table.columns[number].rank]
    ):
        kept.remove(max(ranked, key=lambda number: table.columns[number].rank))
    if sum(widths[number] + _GAP for number in kept) <= width:
        titles = [column.title for column in table.columns]
        yield from (_align_cells(row, table.columns, widths, kept) for row in [titles, *rows, *foot])
    else:
        for row in rows:
            yield from _render_row(row, table.columns, kept, width)
    yield from _mention_rest(table.rows)


def _align_cells(row: Sequence[str], columns: Sequence[TableColumn], widths: Sequence[int], kept: Sequence[int]) -> str:
    cells = (
        row[number].rjust(widths[number])
        if columns[number].kind is ColumnKind.NUMBER
        else row[number].ljust(widths[number])
        for number in kept
    )
    return ("  " + "  ".join(cells)).rstrip()


def _render_row(row: Sequence[str], columns: Sequence[TableColumn], kept: Sequence[int], width: int) -> Iterator[str]:
    first, *others = kept
    yield from _wrap_text(row[first], width, "  ", "    ")
    shown = [number for number in others if row[number] not in {"", "-"}]
    for is_number, group in groupby(shown, key=lambda number: columns[number].kind is ColumnKind.NUMBER):
        cells = [f"{columns[number].title}: {row[number]}" for number in group]
        for line in [", ".join(cells)] if is_number else cells:
            yield from _wrap_text(line, width, "    ", "      ")
