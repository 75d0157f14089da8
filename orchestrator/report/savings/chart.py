"""The saved amounts per day as columns: an SVG without script, style or link. The page provides the colours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from xml.etree.ElementTree import Element

from orchestrator.history.saved import SavingsReport
from orchestrator.report.html.elements import e
from orchestrator.report.savings.document import format_cents


@dataclass(frozen=True, slots=True)
class _Size:
    """The size of a drawing: its CSS class, width, height, and the number of named days."""

    name: str
    width: int
    height: int
    named: int


_WIDE, _NARROW = _Size("wide", 1000, 260, 10), _Size("narrow", 360, 200, 3)
_LEFT, _TOP, _BELOW, _RIGHT = 74, 14, 26, 14
_LEVELS = 4
_GAP = 0.15
_YEAR_S = 300 * 86400
"""From so many seconds on, days are named with their year."""


def draw_columns(saved: SavingsReport) -> list[Element]:
    """Draw the chart for a wide and for a narrow screen."""
    return [_draw_columns(saved, size) for size in (_WIDE, _NARROW)]


def draw_wide_chart(saved: SavingsReport) -> Element:
    """Draw the chart for a wide screen only."""
    return _draw_columns(saved, _WIDE)


def summarize_chart(saved: SavingsReport) -> str:
    """Describe the chart in a single sentence."""
    most = max(saved.savings, default=Decimal(0))
    return (
        f"Saved compute from {saved.since:%Y-%m-%d} to {saved.until:%Y-%m-%d}: "
        f"${format_cents(saved.together.compute.usd)} in all, at most ${format_cents(most)} in one column"
    )


def _draw_columns(saved: SavingsReport, size: _Size) -> Element:
    top = _round_up(max(saved.savings, default=Decimal(0)))
    width, height = size.width - _LEFT - _RIGHT, size.height - _TOP - _BELOW
    first = saved.edges[0]
    whole = (saved.edges[-1] - first).total_seconds()

    def across(number: int) -> float:
        return _LEFT + width * (saved.edges[number] - first).total_seconds() / whole

    bars = []
    for number, usd in enumerate(saved.savings):
        tall, wide = height * float(usd / top), across(number + 1) - across(number)
        if usd:
            place = _shorten_number(across(number) + wide * _GAP / 2), _shorten_number(_TOP + height - tall)
            shape = {
                "x": place[0],
                "y": place[1],
                "width": _shorten_number(wide * (1 - _GAP)),
                "height": _shorten_number(tall),
            }
            bars.append(e("rect", e("title", f"{saved.edges[number]:%Y-%m-%d}: ${format_cents(usd)}"), **shape))
    form = "%Y-%m-%d" if whole > _YEAR_S else "%m-%d"
    days = [(across(number), edge.strftime(form)) for number, edge in enumerate(saved.edges)]
    return e(
        "svg",
        e("g", *_draw_lines(top, height, size), cls="axis y"),
        e("g", *_draw_names(days, size), cls="axis x"),
        e("g", *bars, cls="series as_wanted"),
        cls=f"chart {size.name}",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {size.width} {size.height}",
        role="img",
        aria_label=summarize_chart(saved),
    )


def _draw_lines(top: Decimal, height: int, size: _Size) -> Iterator[Element]:
    for number in range(_LEVELS + 1):
        y = _shorten_number(_TOP + height * (1 - number / _LEVELS))
        yield e("path", cls="line", d=f"M{_LEFT} {y}H{size.width - _RIGHT}")
        yield e("text", f"${top * number / _LEVELS:,.2f}", x=str(_LEFT - 8), y=y, dy="4")


def _draw_names(places: Sequence[tuple[float, str]], size: _Size) -> Iterator[Element]:
    """Draw the names of days below the columns without overlap. The last edge is the end of the chart, not a day."""
    apart = (size.width - _LEFT - _RIGHT) / (size.named + 1)
    last = -apart
    for x, name in places[:-1]:
        if x - last >= apart and x <= size.width - _LEFT / 2:
            yield e("text", name, x=_shorten_number(x), y=str(size.height - 8))
            last = x


def _round_up(most: Decimal) -> Decimal:
    """Return the height of the chart: the first of 1, 2, 4, 8 and 10 times a power of ten above all values."""
    tens = Decimal(10) ** (most.adjusted() if most else -2)
    return next(tens * step for step in (1, 2, 4, 8, 10) if tens * step >= most)


def _shorten_number(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
