"""A report as an HTML page, built from elements."""

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never
from xml.etree.ElementTree import Element

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
    Mood,
    Paragraph,
    Report,
    RowChart,
    Section,
    Table,
    TableGroup,
    TableGroups,
    TimeChart,
)
from orchestrator.report.full.charts import draw_spans, draw_values
from orchestrator.report.html import elements
from orchestrator.report.html.elements import Content, e
from orchestrator.report.html.page import page
from orchestrator.text import safe_text

_LANE = 1000
_MOST_HIDDEN = 250
_LONGEST = 600

_CLASSES = {
    ColumnKind.NAME: "",
    ColumnKind.NUMBER: "num",
    ColumnKind.SENTENCE: "words",
    ColumnKind.WORD: "nowrap",
    ColumnKind.ACTION: "acts",
    ColumnKind.ID: "id",
    ColumnKind.CODE: "mono",
    ColumnKind.BAR: "lane",
}


def render_html(report: Report) -> bytes:
    """Render the page."""
    mood = "banner" if report.mood is Mood.OPEN else f"banner {report.mood}"
    head = [
        e("h1", f"{report.noun} of ", e("bdi", report.playbook)),
        e("p", f"{report.noun} ", e("code", report.run_id), f" started {report.started_at}", cls="soft"),
        e("p", report.headline, cls=mood),
    ]
    title = f"{report.playbook}, {report.noun.lower()} {report.run_id}"
    return page(title, head, map(render_section, report.sections), report.foot)


def render_section(section: Section) -> Element:
    """Render a section of the page."""
    return elements.section(section.name, section.title, *render_blocks(section.blocks))


def render_blocks(blocks: Iterable[Block]) -> Iterator[Content]:
    """Render the blocks of a section."""
    return (content for block in blocks for content in _render_block(block))


def _render_block(block: Block) -> Iterator[Content]:  # noqa: C901 - a case for every type
    match block:
        case Facts():
            pairs = [(name, _render_fact(value)) for name, value in block.pairs]
            yield elements.facts(pairs, "facts one" if block.is_wide else "facts")
        case Counts():
            yield _render_counts(block)
        case Heading():
            yield e("h3", block.text)
        case Paragraph():
            yield e("p", block.text, cls="soft" if block.is_note else None)
        case Items():
            yield e("ul", *(e("li", safe_text(item, _LONGEST)) for item in block.items))
        case Commands():
            yield e("pre", *(part for line in block.lines for part in (e("code", line), e("br"))))
        case Table():
            yield from _render_table(block)
        case TableGroups():
            yield e("div", *(_render_group(group, is_open=block.is_open) for group in block.groups), cls="groups")
        case TimeChart():
            drawn = draw_values(
                block.summary, block.seconds_each, block.series, length=block.length, stacked=block.is_stacked
            )
            yield elements.figure(block.caption, block.keys, drawn)
        case RowChart():
            yield elements.figure(
                block.caption, block.keys, draw_spans(block.summary, block.length, block.labels, block.spans)
            )
        case _:
            assert_never(block)


def _render_counts(block: Counts) -> Element:
    tiles = []
    for each in block.counts:
        word = f"{each.mark} {each.word}".strip()
        meaning = e("span", each.meaning, cls="soft")
        mood = None if each.mood is Mood.OPEN else each.mood.value
        tiles.append(e("li", e("strong", f"{each.number:,}"), word, e("br"), meaning, cls=mood))
    return e("ul", *tiles, cls="tiles")


def _render_table(table: Table) -> Iterator[Element]:
    """Render a table, with the rows after the first ones in sections to open."""
    count = len(table.rows)
    yield _render_rows(table.caption, table, table.rows[: table.shown], table.foot)
    for first in range(table.shown, count, _MOST_HIDDEN):
        part = table.rows[first : first + _MOST_HIDDEN]
        title = f"{table.caption}, {first + 1:,} to {first + len(part):,} of {count:,}"
        yield e("details", e("summary", title), _render_rows(title, table, part))


def _render_rows(
    caption: str, table: Table, part: Sequence[Sequence[Cell]], foot: Sequence[Cell] | None = None
) -> Element:
    head = [(column.title, _CLASSES[column.kind]) for column in table.columns]
    cells = ([_render_cell(cell) for cell in row] for row in part)
    return elements.table(caption, head, cells, None if foot is None else [_render_cell(cell) for cell in foot])


def _render_group(group: TableGroup, *, is_open: bool) -> Element:
    return e("details", e("summary", group.title), *_render_table(group.table), open="" if is_open else None)


def _render_fact(value: Cell) -> elements.Cell:
    return e("code", value.text) if isinstance(value, Code) else e("bdi", value) if isinstance(value, str) else None


def _render_cell(cell: Cell) -> elements.Cell:
    match cell:
        case CvmName():
            return [safe_text(cell.name, 120), e("span", safe_text(cell.address, 40), cls="sub mono")]
        case Code():
            return cell.text
        case Bar():
            return _draw_bar(cell)
        case _:
            return safe_text(cell, _LONGEST)


def _draw_bar(bar: Bar) -> Element | None:
    if not bar.spans:
        return None
    paths = [e("path", cls=kind, d=_level_path(begin, end)) for kind, begin, end in bar.spans]
    return e("svg", *paths, cls="bar", viewBox=f"0 0 {_LANE} 14", preserveAspectRatio="none", aria_hidden="true")


def _level_path(begin: float, end: float) -> str:
    first, last = round(begin * _LANE), round(end * _LANE)
    first, last = min(first, _LANE - 4), max(last, first + 4)  # never too short to be seen
    return f"M{first} 7H{last}"
