"""Draw the results for the docs: bars for medians, whiskers from minimum to maximum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures import Spread
from bench.result import CaseResult, Row
from bench.table import format_number

OURS, YARDSTICK, BOUND = "#2f6fb5", "#b4b8bd", "#c2410c"
_INCHES = (11.0, 8.4)
_COLUMNS = 2


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of the chart.

    Attributes:
        case: the name of the case.
        title: the title above the panel.
        figure: the drawn figure of each row.
        line: gives the name and position of a line for a bound or a target, or None.
        logarithmic: True for a logarithmic axis.
        rows: selects the drawn rows.
    """

    case: str
    title: str
    figure: str
    line: Callable[[CaseResult], tuple[str, float] | None] = lambda _result: None
    logarithmic: bool = False
    rows: Callable[[Row], bool] = lambda _row: True


def _bound(result: CaseResult) -> tuple[str, float] | None:
    spreads = [spread for row in result.rows if (spread := row.spread("bound_seconds"))]
    return ("bound of rate and settling", spreads[0].median) if spreads else None


def _target(result: CaseResult) -> tuple[str, float] | None:
    return ("target", result.targets[0].limit) if result.targets else None


PANELS = (
    Panel("single", "1,000 CVMs at 50 requests/s: seconds", "time_seconds", _bound),
    Panel("single", "… requests a CVM", "requests_a_cvm", logarithmic=True),
    Panel("batch", "Single and batch: seconds", "time_seconds"),
    Panel(
        "unlimited", "No limit: stops a second", "stops_per_second", rows=lambda row: not row.label.endswith(" wide")
    ),
    Panel("auto", "Limit unknown: share of it used", "share_of_limit_used", _target),
    Panel("virtual", "Virtual time: ms of CPU a CVM", "cpu_ms_a_cvm"),
    Panel("virtual", "… MiB of memory at the peak", "peak_rss_mib"),
    Panel("startup", "Starting: seconds", "seconds"),
)


def draw_chart(results: dict[str, CaseResult], path: Path) -> None:
    """Draw all present cases into one SVG file."""
    panels = [panel for panel in PANELS if panel.case in results]
    lines = -(-len(panels) // _COLUMNS)
    # Without a date and random ids, the same figures give the same file.
    with mpl.rc_context(
        {"svg.hashsalt": "bench", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(_INCHES[0], _INCHES[1] * lines / 4), layout="constrained", facecolor="white")
        for place, panel in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(lines, _COLUMNS, place), panel, results[panel.case])
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(axes: Axes, panel: Panel, result: CaseResult) -> None:
    found = [(row.label, spread) for row in result.rows if panel.rows(row) and (spread := row.spread(panel.figure))]
    _draw_bars(axes, found)
    axes.set_title(panel.title, loc="left", fontweight="bold")
    if panel.logarithmic:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    line = panel.line(result)
    if line is not None:
        axes.axvline(line[1], color=BOUND, linestyle="--", linewidth=1, label=line[0])
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, borderpad=0)
    axes.margins(x=0.14)


def _draw_bars(axes: Axes, found: Sequence[tuple[str, Spread]]) -> None:
    labels = [label for label, _ in found]
    medians = [spread.median for _, spread in found]
    whiskers = [[s.median - s.low for _, s in found], [s.high - s.median for _, s in found]]
    colours = [YARDSTICK if label.startswith(("a ", "python")) else OURS for label in labels]
    axes.barh(labels, medians, color=colours, xerr=whiskers, error_kw={"linewidth": 1, "capsize": 2})
    for place, (_, spread) in enumerate(found):
        axes.annotate(
            format_number(spread.median), (spread.high, place), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.invert_yaxis()
