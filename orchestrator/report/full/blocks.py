"""The parts of a report, without a format: facts, tables, lists and charts. Renderers know only these types."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from orchestrator.report.full.charts import Series, Spans


class Mood(StrEnum):
    """The colour of a result. A mark beside the text has the same meaning."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


class ColumnKind(StrEnum):
    """The content of a column, for its alignment and line breaks."""

    NAME = "name"
    NUMBER = "number"
    SENTENCE = "sentence"
    WORD = "word"
    ACTION = "action"
    ID = "id"
    CODE = "code"
    BAR = "bar"


@dataclass(frozen=True, slots=True)
class Code:
    """A command, a digest or an id, shown without a change.

    Attributes:
        text: the text.
    """

    text: str


@dataclass(frozen=True, slots=True)
class CvmName:
    """A CVM's name with its address.

    Attributes:
        name: the name.
        address: the id or UUID.
    """

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Bar:
    """The time spans of a CVM as a small picture. Other cells of the row have the same figures.

    Attributes:
        spans: the kind of each span with its begin and end, as shares of the run from 0 to 1.
    """

    spans: Sequence[tuple[str, float, float]]


Cell: TypeAlias = str | Code | CvmName | Bar
"""The content of a cell of a table, or the value of a fact."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of names and values.

    Attributes:
        pairs: the name and value of every fact.
        is_wide: whether the values are long, such as digests.
    """

    pairs: Sequence[tuple[str, Cell]]
    is_wide: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """A number of targets.

    Attributes:
        number: the number.
        mark: a mark readable without colour; empty without a result.
        word: the outcome or stage.
        meaning: the explanation of the word.
        mood: the colour.
    """

    number: int
    mark: str
    word: str
    meaning: str
    mood: Mood = Mood.OPEN


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of targets, large and side by side.

    Attributes:
        counts: the numbers.
    """

    counts: Sequence[Count]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section.

    Attributes:
        text: the heading.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph.

    Attributes:
        text: the sentences.
        is_note: whether the paragraph only explains the figures; short formats leave notes out.
    """

    text: str
    is_note: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences.

    Attributes:
        items: the sentences.
    """

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands to copy.

    Attributes:
        lines: a command a line.
    """

    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        title: the heading.
        kind: the content.
        rank: the order of removal for lack of width: the highest rank goes first, rank 0 never.
    """

    title: str
    kind: ColumnKind = ColumnKind.NAME
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        caption: the subject.
        columns: the columns.
        rows: the rows, with a cell for every column.
        foot: a last row of sums.
        shown: the number of rows shown at first; a page hides the others in sections to open.
    """

    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Cell] | None = None
    shown: int = 100


@dataclass(frozen=True, slots=True)
class TableGroup:
    """A table in a section to open.

    Attributes:
        title: a summary of the table.
        table: the table.
    """

    title: str
    table: Table


@dataclass(frozen=True, slots=True)
class TableGroups:
    """Tables in sections to open. Short formats show only the titles.

    Attributes:
        groups: the tables.
        is_open: whether the sections are open at first.
    """

    groups: Sequence[TableGroup]
    is_open: bool


@dataclass(frozen=True, slots=True)
class TimeChart:
    """A chart of values over time.

    Attributes:
        caption: the subject.
        summary: the chart in a sentence.
        keys: pairs of a colour and its meaning.
        seconds_each: the duration of every value, in seconds.
        series: the values.
        length: the length of the axis in seconds.
        is_stacked: whether the series are stacked.
    """

    caption: str
    summary: str
    keys: Sequence[tuple[str, str]]
    seconds_each: float
    series: Sequence[Series]
    length: float
    is_stacked: bool = False


@dataclass(frozen=True, slots=True)
class RowChart:
    """A chart of time spans in rows. The figures of the rows are in tables.

    Attributes:
        caption: the subject.
        summary: the chart in a sentence.
        keys: pairs of a colour and its meaning.
        length: the length of the axis in seconds.
        labels: the name of every row; None without space for names.
        spans: the time spans.
    """

    caption: str
    summary: str
    keys: Sequence[tuple[str, str]]
    length: float
    labels: Sequence[str | None]
    spans: Sequence[Spans]


Block: TypeAlias = Facts | Counts | Heading | Paragraph | Items | Commands | Table | TableGroups | TimeChart | RowChart
"""A part of a section."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a report.

    Attributes:
        name: the anchor of the section.
        title: the heading.
        blocks: the content, in order.
        is_empty: whether the content only says that nothing happened; short formats leave the section out.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a run.

    Attributes:
        playbook: the name of the playbook.
        run_id: the id of the run.
        started_at: the start of the run, in words.
        headline: the end of the run in a line.
        mood: the colour of the headline.
        sections: the sections, in order.
        foot: the origin of the report, in a line.
        noun: the subject of the report.
    """

    playbook: str
    run_id: str
    started_at: str
    headline: str
    mood: Mood
    sections: Sequence[Section]
    foot: str
    noun: str = "Run"
