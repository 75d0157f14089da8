"""The savings as a single HTML file, and the chart as a separate SVG file."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, tostring

from orchestrator.billing.savings import SavingsRow, to_hours
from orchestrator.history.saved import SavingsReport
from orchestrator.report.html.elements import Cell, e, figure, section, table
from orchestrator.report.html.page import page
from orchestrator.report.savings.chart import draw_columns, draw_wide_chart
from orchestrator.report.savings.document import list_assumptions
from orchestrator.report.savings.text import describe_included, each_column, explain_marks, format_minute, format_sum
from orchestrator.text import plural

_STYLE = """
svg { color-scheme: light dark; background: #ffffff; font: 11px system-ui, sans-serif; }
text { fill: #1b1f24; } .axis .line { stroke: #c9d1d9; fill: none; } .series { fill: #1a7f37; }
.x text { text-anchor: middle; } .y text { text-anchor: end; }
@media (prefers-color-scheme: dark) {
  svg { background: #10151b; } text { fill: #e8edf2; } .axis .line { stroke: #3b4654; } .series { fill: #45b862; }
}
"""


def savings_page(saved: SavingsReport) -> bytes:
    """Build the page in UTF-8."""
    row = saved.together
    title = f"Savings from {format_minute(saved.since)} to {format_minute(saved.until)}"
    stood = f"{plural(len(row.cvms), 'CVM')} stopped {plural(row.times, 'time')}"
    head = [
        e("h1", title),
        e("p", f"{describe_included(saved)}; {stood}.", cls="soft"),
        build_tiles(saved),
    ]
    sections = [
        section("time", "Over time", figure(f"Saved compute, {each_column(saved)} (UTC)", (), draw_columns(saved)))
    ]
    sections.append(section("rows", f"By {saved.by}", _make_table(saved)))
    sections.append(section("meaning", "Meaning of the figures", *_explain_figures(saved)))
    return page(title, head, sections, "Read from the audit logs alone.")


def build_tiles(saved: SavingsReport) -> Element:
    """Make the totals, large and side by side."""
    words = ("hours stopped", "saved compute", "storage still billed", "charged")
    return e("ul", *map(_make_tile, _list_figures(saved.together), words), cls="tiles")


def savings_svg(saved: SavingsReport) -> bytes:
    """Build the chart as a file, with its own colours."""
    svg = draw_wide_chart(saved)
    style = Element("style")
    style.text = _STYLE
    svg.insert(0, style)
    drawn: bytes = tostring(svg, encoding="utf-8", xml_declaration=True)
    return drawn + b"\n"


def _list_figures(row: SavingsRow) -> tuple[str, str, str, str]:
    charged = format_sum(row.charges.charged_usd, row.uncharged_stops, len(row.stops))
    compute = format_sum(row.compute.usd, row.compute.unknown, row.times)
    return f"{to_hours(row.stood):,.1f}", compute, format_sum(row.storage.usd, row.storage.unknown, row.times), charged


def _make_tile(figure: str, words: str) -> Element:
    return e("li", e("strong", figure), words)


def _make_table(saved: SavingsReport) -> Element:
    columns_of = ((saved.by, ""), ("CVMs", "num"), ("times", "num"), ("hours", "num"))
    amounts = (("saved compute", "num"), ("storage", "num"), ("charged", "num"), ("GPU minimums", "num"))

    def cells(name: str, row: SavingsRow) -> Sequence[Cell]:
        counts = (f"{len(row.cvms):,}", f"{row.times:,}")
        return name, *counts, *_list_figures(row), format_sum(row.minimums.usd, row.minimums.unknown, row.times)

    rows = [cells(row.key or "-", row) for row in saved.rows]
    return table(f"Savings by {saved.by}", (*columns_of, *amounts), rows, cells("total", saved.together))


def _explain_figures(saved: SavingsReport) -> list[Element]:
    parts = [e("ul", *(e("li", sentence) for sentence in (*list_assumptions(saved), *explain_marks(saved))))]
    if saved.ask:
        commands = "\n".join(f"orchestrator reconcile {run_id}" for run_id in saved.ask)
        parts += [e("p", "To read the unknown charges:"), e("pre", *_split_lines(commands))]
    return parts


def _split_lines(text: str) -> list[Element | str]:
    """Split a text into lines for a `pre` element. Plain line breaks would appear as escapes."""
    found: list[Element | str] = []
    for line in text.split("\n"):
        found += [line, e("br")]
    return found[:-1]
