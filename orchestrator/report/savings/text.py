"""The savings for a terminal: a table, a bar chart, and the assumptions. Fits in 60 columns."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain, dropwhile

from orchestrator.billing.savings import SavingsRow, to_hours
from orchestrator.history.saved import SavingsReport
from orchestrator.report.savings.document import format_cents, list_assumptions
from orchestrator.text import plural, safe_text

_NARROWEST = 60
_WIDEST = 110
_COLUMN = 10
_MOST_BARS = 31
_MOST_ASKED = 3


def savings_lines(saved: SavingsReport, width: int, *, blocks: bool = True) -> Iterator[str]:
    """Yield the text line by line.

    Args:
        saved: the savings.
        width: the width of the terminal, in characters.
        blocks: whether the output can show block characters.
    """
    width = min(max(width, _NARROWEST), _WIDEST)
    row = saved.together
    yield f"Savings from {format_minute(saved.since)} to {format_minute(saved.until)}"
    stood = f"{plural(len(row.cvms), 'CVM')} stopped {plural(row.times, 'time')}"
    yield f"{describe_included(saved)}; {stood}"
    yield ""
    if not row.times and not row.stops:
        yield "No CVM was stopped in this time range, by the runs on record."
        if excluded := saved.left_out.get("simulated", 0):
            hint = f"{plural(excluded, 'simulated run')} not counted; --simulated counts only simulated runs."
            yield from textwrap.wrap(hint, width)
        return
    yield from _table_lines(saved, width)
    yield ""
    if row.compute.usd:
        yield from _bar_lines(saved, width, "█" if blocks else "#")
        yield ""
    for sentence in chain(list_assumptions(saved), explain_marks(saved)):
        yield from textwrap.wrap(sentence, width, initial_indent="- ", subsequent_indent="  ")
    if saved.ask:
        yield "- To read the unknown charges:"
    for run_id in saved.ask[:_MOST_ASKED]:
        yield f"    orchestrator reconcile {safe_text(run_id, 40)}"
    if len(saved.ask) > _MOST_ASKED:
        yield f"    and {len(saved.ask) - _MOST_ASKED} more, listed by --json as not_known_yet"


def format_minute(moment: datetime) -> str:
    """Format a moment in UTC, to the minute."""
    return f"{moment:%Y-%m-%d %H:%M}Z"


_ID = 40
_HEADS = ("hours", "saved", "storage", "charged")
_FIRST_TO_GO = ("hours", "storage", "charged")
"""Columns in the order of removal for lack of width."""


def _table_lines(saved: SavingsReport, width: int) -> Iterator[str]:
    longest = max(len(safe_text(row.key)) for row in saved.rows)
    # A long name is cut, the id of an app never.
    key_width = max(min(longest, max(_ID, width - len(_HEADS) * (_COLUMN + 1))), len("total"))
    heads = list(_HEADS)
    for head in _FIRST_TO_GO:
        if key_width + len(heads) * (_COLUMN + 1) > width:
            heads.remove(head)
    yield f"{saved.by:{key_width}}" + "".join(f" {head:>{_COLUMN}}" for head in heads)
    for row in saved.rows:
        yield _row_line(safe_text(row.key, key_width), row, key_width, heads)
    if len(saved.rows) > 1:
        yield _row_line("total", saved.together, key_width, heads)


def _row_line(name: str, row: SavingsRow, key_width: int, heads: Sequence[str]) -> str:
    charged = format_sum(row.charges.charged_usd, row.uncharged_stops, len(row.stops))
    compute = format_sum(row.compute.usd, row.compute.unknown, row.times)
    storage = format_sum(row.storage.usd, row.storage.unknown, row.times)
    cells = dict(zip(_HEADS, (f"{to_hours(row.stood):,.1f}", compute, storage, charged), strict=True))
    return f"{name:{key_width}}" + "".join(f" {cells[head]:>{_COLUMN}}" for head in heads)


def format_sum(usd: Decimal, unknown: int, of: int) -> str:
    """Format a sum to the cent: a plus after a sum with unknown parts, a question mark for a wholly unknown sum."""
    if unknown and unknown >= of:
        return "?"
    return f"${format_cents(usd)}{'+' if unknown else ''}"


def _bar_lines(saved: SavingsReport, width: int, block: str) -> Iterator[str]:
    """Draw the saved compute over time, with few enough lines for a screen."""
    joined = -(-len(saved.savings) // _MOST_BARS)
    pieces = [
        (saved.edges[at], sum(saved.savings[at : at + joined], Decimal(0)))
        for at in range(0, len(saved.savings), joined)
    ]
    yield f"Saved compute, {each_column(saved, joined)} (UTC)"
    most, cost_width = max(usd for _, usd in pieces), width - 24
    for begin, usd in dropwhile(lambda piece: not piece[1], pieces):
        yield f"{begin:%Y-%m-%d} {'$' + format_cents(usd):>10}  {block * round(usd / most * cost_width)}".rstrip()


def each_column(saved: SavingsReport, joined: int = 1) -> str:
    """Name the length of time of a chart column made of several pieces of time."""
    inner = saved.edges[1:-1]
    length = (inner[1] - inner[0] if len(inner) > 1 else timedelta(days=1)) * joined
    return "a day" if length == timedelta(days=1) else f"every {length.days} days"


def explain_marks(saved: SavingsReport) -> Iterator[str]:
    """Explain the marks and the rounding of the shown amounts, where needed."""
    together, rows = saved.together, saved.rows
    if together.compute.unknown or together.storage.unknown or together.uncharged_stops:
        yield "+ after an amount: parts are unknown. ?: the whole amount is unknown."

    def has_difference(whole: Decimal, parts: list[Decimal], digits: int = 2) -> bool:
        return round(whole, digits) != sum((round(part, digits) for part in parts), Decimal(0))

    if (
        has_difference(to_hours(together.stood), [to_hours(row.stood) for row in rows], 1)
        or has_difference(together.compute.usd, [row.compute.usd for row in rows])
        or has_difference(together.storage.usd, [row.storage.usd for row in rows])
        or has_difference(together.minimums.usd, [row.minimums.usd for row in rows])
        or has_difference(together.charges.charged_usd, [row.charges.charged_usd for row in rows])
    ):
        yield "Figures are rounded one by one; the exact figures of --json add up."


def describe_included(saved: SavingsReport) -> str:
    """Describe the included runs: `3 runs included`."""
    of_fleet = "" if saved.fleet is None else f" of {safe_text(saved.fleet)}"
    return f"{plural(saved.runs, 'run')}{of_fleet} included"
