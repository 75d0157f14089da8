"""A report as GitHub-flavoured Markdown, for issues and chats. Text from outside is never markup."""

import re
from collections.abc import Iterator, Sequence
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

_SPECIAL = re.compile(
    r"[\\`*\[\]<>#|~&]|(?<!\w)_|_(?!\w)"
    r"|(?<![A-Za-z0-9])@|@(?=[\w-]*\.\w)"  # mentions and e-mail addresses; not root@host
    r"|\$(?![0-9])"  # formulas; the end of a formula has no digit behind, so $3.50 is none
    r"|:(?=//)|(?i:w(?=ww\.))"  # links
    r"|:(?=[\w+-]*[^\W\d][\w+-]*:|[+-]\d+:|100:|1234:)"  # emoji; not the time 10:30:00
)
"""Characters to escape. Others stay where they can't be markup: a report has many colons, prices and underscores."""
_LINE_START = re.compile(r"^[-+=]|^\d(?=\d*[.)](?:\s|$))")
"""Characters to escape at the start of a line, against lists and headings; a cell of a table has neither."""
_PLAIN_CODE = re.compile(r"[\w. :/-]+")
_MOST = 200
_MOST_GROUPED = 1000
_LONGEST = 600


def escape_markdown(text: object, width: int = _LONGEST) -> str:
    """Escape text against Markdown markup, links, mentions and HTML."""
    return _LINE_START.sub(_as_entity, _escape_cell(text, width))


def _escape_cell(text: object, width: int = _LONGEST) -> str:
    return _SPECIAL.sub(_as_entity, safe_text(text, width))


def _as_entity(match: re.Match[str]) -> str:
    """Write a character by its number: after a backslash GitHub would still make links and mentions."""
    return f"&#{ord(match.group())};"


def render_markdown(report: Report) -> str:
    """Render the whole report."""
    return "\n".join(_render_report(report))


def _render_report(report: Report) -> Iterator[str]:
    yield f"# {report.noun} of {escape_markdown(report.playbook, 120)}"
    yield ""
    yield f"**{escape_markdown(report.headline)}**"
    yield ""
    yield f"{report.noun} {escape_markdown(report.run_id)} started {escape_markdown(report.started_at)}."
    yield ""
    for section in report.sections:
        yield from _render_section(section)
    yield escape_markdown(report.foot)
    yield ""


def _render_section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    for block in section.blocks:
        yield from render_block(block)


def render_block(block: Block) -> Iterator[str]:  # noqa: C901 - a case for every type
    """Render a part of a report, line by line."""
    match block:
        case Facts():
            yield from _render_table(Table("", (TableColumn("fact"), TableColumn("")), block.pairs))
        case Counts():
            rows = [(each.word, each.meaning, f"{each.number:,}") for each in block.counts]
            columns = TableColumn("outcome"), TableColumn("meaning"), TableColumn("targets", ColumnKind.NUMBER)
            yield from _render_table(Table("", columns, rows))
        case Heading():
            yield from (f"### {escape_markdown(block.text)}", "")
        case Paragraph():
            yield from (escape_markdown(block.text, 4000), "")
        case Items():
            yield from (f"- {escape_markdown(item)}" for item in block.items[:_MOST])
            yield ""
            yield from _mention_rest(len(block.items) - _MOST)
        case Commands():
            yield from (*(f"    {safe_text(line, 4096)}" for line in block.lines), "")
        case Table():
            yield from _render_table(block)
        case TableGroups():
            yield from _render_groups(block)
        case TimeChart():
            yield from (escape_markdown(block.summary), "")
        case RowChart():
            pass
        case _:
            assert_never(block)


def _mention_rest(count: int) -> Iterator[str]:
    if count > 0:
        yield f"And {count:,} more, in the JSON format."
        yield ""


def _render_groups(groups: TableGroups) -> Iterator[str]:
    rows_left = _MOST_GROUPED
    for group in groups.groups:
        if rows_left <= 0:
            break
        yield f"<details><summary>{escape_markdown(group.title)}</summary>"
        yield ""
        yield from _render_table(group.table, rows_left)
        yield "</details>"
        yield ""
        rows_left -= len(group.table.rows)
    yield from _mention_rest(sum(len(group.table.rows) for group in groups.groups) - _MOST_GROUPED)


def _render_table(table: Table, most: int = _MOST) -> Iterator[str]:
    kept = [number for number, column in enumerate(table.columns) if column.kind is not ColumnKind.BAR]
    columns = [table.columns[number] for number in kept]
    yield _join_cells([column.title for column in columns])
    yield _join_cells(["---:" if column.kind is ColumnKind.NUMBER else "---" for column in columns])
    for row in table.rows[:most]:
        yield _join_cells([_render_cell(row[number]) for number in kept])
    if table.foot is not None:
        yield _join_cells([f"**{cell}**" if (cell := _render_cell(table.foot[number])) else "" for number in kept])
    yield ""
    if table.caption and len(table.rows) > most:
        yield from _mention_rest(len(table.rows) - most)


def _join_cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _render_cell(cell: Cell) -> str:
    match cell:
        case CvmName():
            return _escape_cell(cell.name, 120)
        case Code():
            text = safe_text(cell.text, 4096)
            return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else _escape_cell(text, 4096)
        case Bar():
            return ""
        case _:
            return _escape_cell(cell)
