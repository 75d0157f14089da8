"""Charts as SVG for a page with a strict policy: no script, no style, no link, text as text.

The library pygal draws the charts. Only a short list of its output is kept: shapes, text, and classes. The style sheet
of the page colours the classes for a light or a dark screen. Every chart is drawn twice, for the width of a desktop and
of a phone; the page shows the fitting chart. The page also states the content of every chart in words or in a table.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.text import safe_text
from orchestrator.times import format_duration

_KEPT: Mapping[str, frozenset[str]] = {
    "g": frozenset({"class", "transform", "stroke-width"}),
    "path": frozenset({"class", "d"}),
    "rect": frozenset({"class", "x", "y", "width", "height"}),
    "circle": frozenset({"class", "cx", "cy", "r"}),
    "text": frozenset({"class", "x", "y"}),
}
"""The kept elements of a picture and their attributes; other elements are removed with their content."""

_LEFT_OUT = frozenset({"text-overlay", "tooltip-overlay", "titles", "legends"})
_NUMBER = re.compile(r"-?\d+\.\d+")
_LEVEL = re.compile(r"M(\S+) (\S+) L(\S+) \2")
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_THINNEST_ROW, _THICKEST_ROW = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a chart.

    Attributes:
        name: the CSS class used to show or hide the chart.
        width: the width in the units of the text; a line of text is 11 high.
        height: the height in the same units.
        label: the number of characters of a name beside a row.
        ticks: the number of labelled moments on the time axis.
    """

    name: str
    width: int
    height: int
    label: int
    ticks: int


WIDE = Size("wide", 1000, 300, 24, 10)
NARROW = Size("narrow", 360, 240, 11, 4)


@dataclass(frozen=True, slots=True)
class Series:
    """A series of values in a chart.

    Attributes:
        name: the name of the series.
        kind: the CSS class for the colour.
        values: a value for every place on the time axis.
        filled: whether the area below the line is filled.
    """

    name: str
    kind: str
    values: Sequence[float | None]
    filled: bool = True


@dataclass(frozen=True, slots=True)
class Spans:
    """A kind of time spans in a chart of rows.

    Attributes:
        name: the name of the kind.
        kind: the CSS class for the colour.
        periods: (row, begin, end), in seconds.
        dots: whether only the begin of a span is drawn, as a dot.
    """

    name: str
    kind: str
    periods: Sequence[tuple[int, float, float]]
    dots: bool = False


def draw_values(
    says: str, seconds_each: float, series: Sequence[Series], *, length: float | None = None, stacked: bool = False
) -> list[Element]:
    """Draw values over time.

    Args:
        says: the chart in a sentence, for screen readers.
        seconds_each: the duration of every value, in seconds.
        series: the series, all of the same length.
        length: the length of the axis in seconds; None for the length of the values.
        stacked: whether to stack the series, the first at the bottom.
    """
    drawn = _stack_series(series) if stacked else list(series)
    lasts = max((len(each.values) for each in series), default=0) * seconds_each
    return [
        _draw_values(size, says, seconds_each, lasts if length is None else length, drawn) for size in (WIDE, NARROW)
    ]


def _draw_values(size: Size, says: str, seconds_each: float, length: float, series: Sequence[Series]) -> Element:
    pygal = _import_pygal()
    highest = max((value for each in series for value in each.values if value is not None), default=0.0)
    chart = pygal.XY(
        **_common_options(size, length),
        show_dots=False,
        range=(0, highest or 1.0),
        y_labels=[{"label": f"{value:,}", "value": value} for value in _tick_values(highest or 1.0)],
    )
    for each in series:
        points = [
            (min(place * seconds_each, length), value)
            for number, value in enumerate(each.values)
            for place in (number, number + 1)  # a value holds until the next one: steps, not slopes
        ]
        chart.add(each.name, points, fill=each.filled)
    return _reduce_picture(chart.render_tree(), size, says, [each.kind for each in series])


def _stack_series(series: Sequence[Series]) -> list[Series]:
    """Stack the series and return the highest first, so that lower areas are drawn on top."""
    reached: list[float] = [0.0] * max((len(each.values) for each in series), default=0)
    upon: list[Series] = []
    for each in series:
        reached = [below + (value or 0.0) for below, value in zip(reached, each.values, strict=True)]
        upon.append(replace(each, values=reached))
    return upon[::-1]


def draw_spans(says: str, length: float, labels: Sequence[str | None], spans: Sequence[Spans]) -> list[Element]:
    """Draw time spans in rows, the first row on top.

    Args:
        says: the chart in a sentence, for screen readers.
        length: the length of the axis in seconds.
        labels: the names of the rows; None for too many rows to name.
        spans: the spans to draw.
    """
    return [_draw_spans(size, says, length, labels, spans) for size in (WIDE, NARROW)]


def _draw_spans(size: Size, says: str, length: float, labels: Sequence[str | None], spans: Sequence[Spans]) -> Element:
    pygal = _import_pygal()
    count = max(1, len(labels))
    named = any(labels)
    height = 60 + round(count * 18) if named else size.height + 160
    if named:
        places = [{"label": safe_text(label, size.label), "value": row} for row, label in enumerate(labels)]
    else:
        places = [
            {"label": f"{row + 1:,}", "value": row} for row in {0, count // 4, count // 2, count * 3 // 4, count - 1}
        ]
    chart = pygal.XY(
        **_common_options(size, length, height),
        allow_interruptions=True,
        inverse_y_axis=True,
        show_dots=False,
        y_labels=places,
        range=(-0.5, count - 0.5),
    )
    for each in spans:
        points: list[tuple[float | None, float | None]] = []
        for row, begin, end in each.periods:
            points += [(begin, row), (end, row), *([] if each.dots else [(None, None)])]
        chart.add(
            each.name, points[::2] if each.dots else points, stroke=not each.dots, show_dots=each.dots, dots_size=3.5
        )
    svg = _reduce_picture(chart.render_tree(), size, says, [each.kind for each in spans])
    # Rows with a name have a gap; rows without a name overlap a little, else the colours look pale.
    thick = (height - 50) / count * (0.7 if named else 1.5)
    for group in svg.iter("g"):
        if "series" in (group.get("class") or "").split():
            group.set("stroke-width", f"{min(_THICKEST_ROW, max(_THINNEST_ROW, thick)):.2f}")
    return svg


def _import_pygal() -> Any:  # noqa: ANN401 - it has no types
    """Import the library only for an actual chart."""
    import pygal  # noqa: PLC0415 - see above

    # The library's finder for map plugins uses an import API removed from Python, and causes a warning.
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, pygal.PluginImportFixer)]
    return pygal


def _common_options(size: Size, length: float, height: int = 0) -> dict[str, Any]:
    """Return the common options of all charts: a time axis, space for the other axis and for values."""
    return {
        "width": size.width,
        "height": height or size.height,
        "x_labels": [{"label": format_duration(at), "value": at} for at in _tick_seconds(length, size.ticks)],
        "xrange": (0, max(length, 0.1)),
        "explicit_size": False,
        "js": [],
        "margin": 6,
        "margin_right": 14,
        "show_legend": False,
        "print_values": False,
        "no_prefix": True,
        "disable_xml_declaration": True,
    }


def _reduce_picture(tree: Any, size: Size, says: str, kinds: Sequence[str]) -> Element:  # noqa: ANN401 - pygal has no types
    """Return the picture as its own element, reduced to the parts needed by a page."""
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": f"chart {size.name}",
            "viewBox": tree.get("viewBox"),
            "role": "img",
            "aria-label": says,
        },
    )
    for child in tree:
        kept = _copy_element(child, kinds)
        if kept is not None:
            svg.append(kept)
    return svg


def _copy_element(element: Any, kinds: Sequence[str]) -> Element | None:  # noqa: ANN401 - the same
    tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    classes = (element.get("class") or "").split()
    if tag not in _KEPT or _LEFT_OUT.intersection(classes):
        return None
    kept = Element(
        tag, {key: _round_numbers(str(value)) for key, value in element.items() if key in _KEPT[tag] and value}
    )
    number = next((name.removeprefix("serie-") for name in classes if name.startswith("serie-")), None)
    if number is not None:
        kept.set("class", f"series {kinds[int(number)]}")
    kept.text = element.text if tag == "text" else None
    children = [child for child in (_copy_element(each, kinds) for each in element) if child is not None]
    kept.extend(_join_levels(children) if number is not None else children)
    return kept if tag != "g" or len(kept) else None


def _join_levels(children: list[Element]) -> list[Element]:
    """Join level lines of the same colour into a single path: a line then takes only a few bytes."""
    level: list[Element] = []
    others: list[Element] = []
    for child in children:
        is_level = child.tag == "path" and _LEVEL.fullmatch(child.get("d", ""))
        (level if is_level else others).append(child)
    if not level:
        return children
    path = "".join(_LEVEL.sub(r"M\1 \2H\3", line.get("d", "")) for line in level)
    return [Element("path", {"class": level[0].get("class", ""), "d": path}), *others]


def _round_numbers(text: str) -> str:
    return _NUMBER.sub(lambda match: f"{float(match.group()):.2f}".rstrip("0").rstrip("."), text)


def _tick_seconds(length: float, most: int) -> list[float]:
    """Return round moments from 0 on, up to a limit beside the first."""
    step = next((step for step in _STEPS if length / step <= most), max(length / most, 1.0))
    return [number * step for number in range(int(length / step) + 1)]


def _tick_values(highest: float) -> list[int]:
    """Return whole numbers from 0 to the highest value, about five numbers."""
    tens = 10 ** max(0, len(str(int(highest))) - 1)
    steps = (int(tens * share) for share in (0.2, 0.5, 1, 2) if tens * share >= 1)
    step = next((step for step in steps if highest / step <= 6), tens)  # noqa: PLR2004 - more would be crowded
    return list(range(0, int(highest) + 1, step))
