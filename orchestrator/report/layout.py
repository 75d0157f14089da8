"""Tables, facts, money and moments for terminals of any width. Ids and commands are neither wrapped nor cut."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.billing.rates import HOURS_PER_MONTH
from orchestrator.text import safe_text
from orchestrator.times import format_duration

_GAP = 2
_LEAST = 12
"""The least width of a column of prose, in characters."""
_WORD = re.compile(r"(?:`[^`]*`|\borchestrator (?:\w+ )+\d{8}T\d{6}Z-\w+|\S)+\s*")
"""What is not broken: a word, a command in backquotes, a command with the id of a run."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        header: the name of the column.
        rank: the order of removal for lack of width: the highest rank goes first, rank 0 never.
        wraps: whether a cell may continue on the next line, as names and sentences may.
        right: whether the cells are aligned to the right.
    """

    header: str
    rank: int = 0
    wraps: bool = False
    right: bool = False


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table. Columns beyond the width are left out.

    Args:
        console: the console to print on.
        columns: the columns of the table.
        rows: the rows, with a cell for each column.
    """
    console.print(table(columns, rows, console.width), crop=False)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], width: int) -> Table:
    """Format a table to a width. Cells without line breaks can make the table wider."""
    texts = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    needed = [_needed_width(column, [row[n] for row in texts]) for n, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while _total_width(needed[n] for n in kept) > width:
        last = max(kept, key=lambda n: columns[n].rank)
        if not columns[last].rank:
            break
        kept.remove(last)
    found = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim", show_edge=False)
    if (least := _total_width(needed[n] for n in kept)) > width:
        found.width = least + _GAP
    for n in kept:
        column = columns[n]
        found.add_column(
            column.header,
            justify="right" if column.right else "left",
            no_wrap=not column.wraps,
            overflow="fold",
            min_width=needed[n],
        )
    for row in texts:
        found.add_row(*(row[n] for n in kept))
    return found


def _needed_width(column: Column, cells: Sequence[Text]) -> int:
    widest = max((line.cell_len for cell in cells for line in cell.split("\n")), default=0)
    return max(min(widest, _LEAST) if column.wraps else widest, len(column.header))


def _total_width(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def fact_lines(console: Console, facts: Iterable[tuple[str, str | Text]]) -> list[Text]:
    """Format facts as lines, with the label first. A fact without a label belongs to the fact above.

    Args:
        console: the console for the lines.
        facts: pairs of label and text. A text with `no_wrap` keeps its lines whole.
    """
    every = list(facts)
    indent = max((len(label) for label, _ in every), default=0) + _GAP
    lines = []
    for label, fact in every:
        text = fact if isinstance(fact, Text) else Text(fact)
        for number, line in enumerate(wrapped(text, console.width - indent)):
            head = Text((label if number == 0 else "").ljust(indent), "dim")
            lines.append(Text.assemble(head, line))
    return lines


def prose_lines(console: Console, text: str | Text) -> list[Text]:
    """Wrap text into lines between words, but never within a command."""
    return wrapped(text if isinstance(text, Text) else Text(text), console.width)


def warning_lines(console: Console, message: str) -> list[Text]:
    """Format a warning as lines: the first begins with `!`, the others are indented."""
    mark = Text("! ", "bold yellow")
    lines = wrapped(Text(safe_text(message, 400)), console.width - len(mark))
    return [Text.assemble("  " if number else mark, line) for number, line in enumerate(lines)]


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print lines without styles."""
    for line in lines:
        console.print(line, soft_wrap=True)


def wrapped(text: Text, width: int) -> list[Text]:
    """Wrap a text to a width. A longer word or command stays whole."""
    lines = text.split("\n")
    return list(lines) if text.no_wrap else [piece for line in lines for piece in _split_line(line, max(width, _LEAST))]


def _split_line(line: Text, width: int) -> list[Text]:
    breaks, used = [], 0
    for found in _WORD.finditer(line.plain):
        needed = cell_len(found[0].rstrip())
        if used and used + needed > width:
            breaks.append(found.start())
            used = 0
        used += cell_len(found[0])
    pieces = list(line.divide(breaks))
    for piece in pieces:
        piece.rstrip()
    return pieces


def format_dollars(amount: str | Decimal | None) -> str:
    """Format an amount to the cent, such as `$1,234.50`. Sums are rounded only here."""
    if amount is None:
        return "not known"
    exact = Decimal(amount)
    return f"{'-' if exact < 0 else ''}${abs(exact):,.2f}"


def per_hour(sums: Mapping[str, Any] | None, kind: str) -> str:
    """Format a rate of `compute` or `storage`, such as `$1.1600`, and the number of CVMs with an unknown rate."""
    if sums is None:
        return "-"
    unknown = sums[f"{kind}_unknown"]
    amount = f"${Decimal(sums[f'known_{kind}_usd_per_hour']):,.4f}"
    return f"{amount} and {unknown} not known" if unknown else amount


def rate_words(sums: Mapping[str, Any], kind: str) -> str:
    """Format a rate for an hour and a month, such as `$1.1600/h, $846.80 a month`, and the number of unknown rates."""
    amount = f"${Decimal(sums[f'known_{kind}_usd_per_hour']):,.4f}/h, {per_month(sums, kind)} a month"
    unknown = sums[f"{kind}_unknown"]
    return f"{amount}, {unknown} not known" if unknown else amount


def per_month(sums: Mapping[str, Any], kind: str) -> str:
    """Format the rate for a month of 730 hours, to the cent."""
    return format_dollars(Decimal(sums[f"known_{kind}_usd_per_hour"]) * HOURS_PER_MONTH)


def after(seconds: float | None) -> str:
    """Format a duration; a dash for a missing duration."""
    return "-" if seconds is None else format_duration(seconds)


def between(start: float | None, end: float | None) -> str:
    """Format the time between two timestamps; a dash where a timestamp is missing."""
    return "-" if start is None or end is None else format_duration(max(0.0, round(end - start, 3)))


def moment(ts: str | None) -> str:
    """Format a timestamp of the log to the second, such as `2026-11-23 16:32:53 UTC`."""
    return "-" if ts is None else f"{ts[:10]} {ts[11:19]} UTC"


def size(count: int) -> str:
    """Format a number of bytes, with separators."""
    return f"{count:,} bytes"
