"""A report as plain text for a terminal. Lines are at most 60 columns long, except for unbreakable words."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import assert_never

from orchestrator.report.full.blocks import (
    Bar,
    Block,
    Cell,
    Code,
    Column,
    Commands,
    Counts,
    CvmName,
    Facts,
    Groups,
    Heading,
    Items,
    Kind,
    Paragraph,
    Report,
    RowChart,
    Section,
    Table,
    TimeChart,
)
from orchestrator.safe_text import safe_text

_WIDTH = 60
_GAP = 2
_MOST = 50
_LONGEST_NAME = 40


def render_text(report: Report) -> str:
    """Render the whole report."""
    head = [*_wrap(f"Run {report.run_id} of {report.playbook}"), *_wrap(report.headline)]
    sections = ["\n".join(_section(section)) for section in report.sections if not section.is_empty]
    return "\n\n".join(["\n".join(head), *sections, "\n".join(_wrap(report.foot))]) + "\n"


def _wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    return textwrap.wrap(
        safe_text(text, 2000), _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )


def _section(section: Section) -> Iterator[str]:
    yield section.title
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:  # noqa: C901, PLR0912 - a case for every type
    match block:
        case Facts():
            width = max(len(name) for name, _ in block.pairs) + _GAP
            for name, value in block.pairs:
                yield from _fact(name.ljust(width), value)
        case Counts():
            for each in block.counts:
                yield from _wrap(
                    f"{each.mark or ' '} {each.word:<12} {each.meaning}", f"  {each.number:>7,} ", " " * 25
                )
        case Heading():
            yield f"  {block.text}:"
        case Paragraph():
            yield from () if block.is_note else _wrap(block.text, "  ", "  ")
        case Items():
            for item in block.items[:_MOST]:
                yield from _wrap(item, "  - ", "    ")
            yield from _rest(block.items)
        case Commands():
            yield from (f"    {safe_text(line, 4096)}" for line in block.lines)
        case Table():
            yield from _table(block)
        case Groups():
            for group in block.groups[:_MOST]:
                yield from _wrap(group.title, "    ", "      ")
            yield from _rest(block.groups)
        case TimeChart():
            yield from _wrap(block.summary, "  ", "  ")
        case RowChart():
            pass
        case _:
            assert_never(block)


def _fact(name: str, value: Cell) -> Iterator[str]:
    if isinstance(value, Code):
        yield f"  {name}{_plain(value)}"
    else:
        yield from _wrap(_plain(value), f"  {name}", " " * (len(name) + 2))


def _rest(items: Sequence[object]) -> Iterator[str]:
    if len(items) > _MOST:
        yield f"  and {len(items) - _MOST:,} more: --format json"


def _plain(cell: Cell) -> str:
    match cell:
        case CvmName():
            return safe_text(cell.name, _LONGEST_NAME)
        case Code():
            return safe_text(cell.text, 4096)
        case Bar():
            return ""
        case _:
            return safe_text(cell, 2000)


def _table(table: Table) -> Iterator[str]:
    """Show columns side by side if the table fits; otherwise a paragraph for every row.

    Columns with a rank are left out of a table without enough room.
    """
    kept = [number for number, column in enumerate(table.columns) if column.kind is not Kind.BAR]
    rows = [[_plain(cell) for cell in row] for row in table.rows[:_MOST]]
    foot = [] if table.foot is None else [[_plain(cell) for cell in table.foot]]
    widths = [
        max(len(row[number]) for row in [*rows, *foot, [column.title for column in table.columns]])
        for number, column in enumerate(table.columns)
    ]
    while sum(widths[number] + _GAP for number in kept) > _WIDTH and (
        ranked := [number for number in kept if table.columns[number].rank]
    ):
        kept.remove(max(ranked, key=lambda number: table.columns[number].rank))
    if sum(widths[number] + _GAP for number in kept) <= _WIDTH:
        titles = [column.title for column in table.columns]
        yield from (_line(row, table.columns, widths, kept) for row in [titles, *rows, *foot])
    else:
        for row in rows:
            yield from _row_lines(row, table.columns, kept)
    yield from _rest(table.rows)


def _line(row: Sequence[str], columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int]) -> str:
    cells = (
        row[number].rjust(widths[number]) if columns[number].kind is Kind.NUMBER else row[number].ljust(widths[number])
        for number in kept
    )
    return ("  " + "  ".join(cells)).rstrip()


def _row_lines(row: Sequence[str], columns: Sequence[Column], kept: Sequence[int]) -> Iterator[str]:
    first, *others = kept
    yield from _wrap(row[first], "  ", "    ")
    for number in others:
        if row[number] not in {"", "-"}:
            yield from _wrap(f"{columns[number].title}: {row[number]}", "    ", "      ")
