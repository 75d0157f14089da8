"""A report as GitHub-flavoured Markdown, for issues and chats. Text from outside is never markup."""

import re
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

_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#!|~@$&:]|^[-+=]|^\d(?=\d*[.)])|(?i:w(?=ww\.))")
_PLAIN_CODE = re.compile(r"[\w. :/-]+")
_MOST = 200
_MOST_GROUPED = 1000
_LONGEST = 600


def escape(text: object, width: int = _LONGEST) -> str:
    """Escape text against Markdown markup, links, mentions and HTML."""
    return _SPECIAL.sub(_entity, safe_text(text, width))


def _entity(match: re.Match[str]) -> str:
    """Write a character by its number: after a backslash GitHub would still make links and mentions."""
    return f"&#{ord(match.group())};"


def render_markdown(report: Report) -> str:
    """Render the whole report."""
    return "\n".join(_report(report))


def _report(report: Report) -> Iterator[str]:
    yield f"# Run of {escape(report.playbook, 120)}"
    yield ""
    yield f"**{escape(report.headline)}**"
    yield ""
    yield f"Run {escape(report.run_id)} started {escape(report.started_at)}."
    yield ""
    for section in report.sections:
        yield from _section(section)
    yield escape(report.foot)
    yield ""


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:  # noqa: C901 - a case for every type
    match block:
        case Facts():
            yield from _table(Table("", (Column("fact"), Column("")), block.pairs))
        case Counts():
            rows = [(each.word, each.meaning, f"{each.number:,}") for each in block.counts]
            columns = Column("outcome"), Column("meaning"), Column("targets", Kind.NUMBER)
            yield from _table(Table("", columns, rows))
        case Heading():
            yield from (f"### {escape(block.text)}", "")
        case Paragraph():
            yield from (escape(block.text, 4000), "")
        case Items():
            yield from (f"- {escape(item)}" for item in block.items[:_MOST])
            yield ""
            yield from _rest(len(block.items) - _MOST)
        case Commands():
            yield from (*(f"    {safe_text(line, 4096)}" for line in block.lines), "")
        case Table():
            yield from _table(block)
        case Groups():
            yield from _groups(block)
        case TimeChart():
            yield from (escape(block.summary), "")
        case RowChart():
            pass
        case _:
            assert_never(block)


def _rest(count: int) -> Iterator[str]:
    if count > 0:
        yield f"And {count:,} more, in the JSON format."
        yield ""


def _groups(groups: Groups) -> Iterator[str]:
    room = _MOST_GROUPED
    for group in groups.groups:
        if room <= 0:
            break
        yield f"<details><summary>{escape(group.title)}</summary>"
        yield ""
        yield from _table(group.table, room)
        yield "</details>"
        yield ""
        room -= len(group.table.rows)
    yield from _rest(sum(len(group.table.rows) for group in groups.groups) - _MOST_GROUPED)


def _table(table: Table, most: int = _MOST) -> Iterator[str]:
    kept = [number for number, column in enumerate(table.columns) if column.kind is not Kind.BAR]
    columns = [table.columns[number] for number in kept]
    yield _line([column.title for column in columns])
    yield _line(["---:" if column.kind is Kind.NUMBER else "---" for column in columns])
    for row in table.rows[:most]:
        yield _line([_cell(row[number]) for number in kept])
    if table.foot is not None:
        yield _line([f"**{cell}**" if (cell := _cell(table.foot[number])) else "" for number in kept])
    yield ""
    if table.caption and len(table.rows) > most:
        yield from _rest(len(table.rows) - most)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    match cell:
        case CvmName():
            return escape(cell.name, 120)
        case Code():
            text = safe_text(cell.text, 4096)
            return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else escape(text, 4096)
        case Bar():
            return ""
        case _:
            return escape(cell)
