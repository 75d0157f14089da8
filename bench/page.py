"""Write the results into the docs: `python -m bench.page` draws the chart and rewrites the tables.

This script rewrites the text between `<!-- measured: NAME -->` and `<!-- /measured -->`, and nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.result import CaseResult, Row, read_case, read_documents
from bench.table import describe_target, format_number
from bench.work_folder import ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"
CHART = ROOT / "docs" / "images" / "performance.svg"
_PART = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- /measured -->)", re.DOTALL)
_NOTHING = "Nothing is kept yet: `make bench` fills `bench/results/`.\n"
_ORDER = ("single", "batch", "auto", "unlimited", "fleet", "store", "virtual", "rehearsal", "startup", "inventory")
_COLUMNS: Mapping[str, Sequence[str]] = {
    "single": ("time_seconds", "bound_seconds", "requests_a_cvm", "throttled_requests", "cpu_seconds"),
    "batch": ("time_seconds", "last_stop_seconds", "requests_a_cvm", "throttled_requests", "cpu_seconds"),
    "auto": ("share_of_limit_used", "throttled_share", "time_seconds", "bound_seconds", "requests_a_cvm"),
    "unlimited": ("stops_per_second", "stops_per_cpu_second", "cpu_seconds", "cpu_beyond_plan_seconds"),
    "fleet": ("time_seconds", "bound_seconds", "first_stop_seconds", "throttled_requests", "peak_rss_mib", "cpu_share"),
    "store": (
        "stops_per_second",
        "intents_per_second",
        "takeover_seconds",
        "time_seconds",
        "bound_seconds",
        "cpu_seconds",
    ),
    "virtual": ("real_seconds", "cpu_seconds", "cpu_ms_a_cvm", "peak_rss_mib", "log_mib"),
    "rehearsal": ("time_seconds", "cpu_seconds", "cores", "peak_rss_mib"),
    "startup": ("seconds", "cpu_seconds", "times_python_alone"),
    "inventory": ("time_seconds", "bound_seconds", "cpu_seconds", "peak_rss_mib"),
}
"""The figures of each case in the docs; the other figures are in its JSON document."""


def make_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(row: Row, figure: str) -> str:
    spread = row.spread(figure)
    if spread is None:
        return ""
    middle, low, high = format_number(spread.median), format_number(spread.low), format_number(spread.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def chart_part(documents: Mapping[str, dict[str, Any]]) -> str:
    """Write the link to the chart."""
    if not documents:
        return _NOTHING
    return (
        "![What was measured: a bar for each thing, whiskers from the least to the most](../images/performance.svg)\n"
    )


def targets_part(documents: Mapping[str, dict[str, Any]]) -> str:
    """Write a table of every target and its measurement."""
    rows = []
    for result in _in_order(documents):
        for target in result.targets:
            measured = _cell(result.row(target.row), target.figure) or "-"
            said = describe_target(target, result.spread(target))
            rows.append([f"`{result.name}`", target.row, target.claim, measured, target.limit_text, said])
    head = ("case", "what", "figure", "median (min to max)", "reach", "reached")
    return make_table(head, rows) if rows else _NOTHING


def figures_part(documents: Mapping[str, dict[str, Any]]) -> str:
    """Write a table for each case."""
    parts = []
    for result in _in_order(documents):
        wanted = _COLUMNS[result.name]
        head = [result.title.replace("|", "\\|"), *(name.replace("_", " ") for name in wanted)]
        rows = [[row.label, *(_cell(row, name) for name in wanted)] for row in result.rows]
        rows = [row for row in rows if any(row[1:])]
        notes = "".join(f"- {note}\n" for note in result.notes)
        runs = documents[result.name]["runs"]
        times = "once" if runs == 1 else f"{runs} times"
        parts.append(f"`{result.name}`, measured {times}\n\n{make_table(head, rows)}\n{notes}")
    return "\n".join(parts) or _NOTHING


def machine_part(documents: Mapping[str, dict[str, Any]]) -> str:
    """Describe the machines of the measurements."""
    said: dict[str, set[str]] = {}
    for document in documents.values():
        facts = document["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        where = (
            f"{facts['cpu_model']}, {facts['cpu_cores']} cores, {facts['memory_mib'] / 1024:.0f} GiB, "
            f"{facts['system']}, audit logs on {facts['file_system']}, Python {facts['python']}; {versions}"
        )
        said.setdefault(where, set()).add(facts["measured_at"][:10])
    lines = [f"- {where} ({', '.join(sorted(days))})\n" for where, days in said.items()]
    return "".join(lines) + f"\n{describe_sources(documents)}\n" if lines else _NOTHING


def describe_sources(documents: Mapping[str, dict[str, Any]]) -> str:
    """List the measurements behind a page, as a comment in the page; empty without measurements."""
    moments = [f"{name} {document['machine']['measured_at']}" for name, document in sorted(documents.items())]
    return f"<!-- made from: {', '.join(moments)} -->" if moments else ""


PARTS: Mapping[str, Callable[[Mapping[str, dict[str, Any]]], str]] = {
    "chart": chart_part,
    "targets": targets_part,
    "figures": figures_part,
    "machine": machine_part,
}


def _in_order(documents: Mapping[str, dict[str, Any]]) -> list[CaseResult]:
    return [read_case(documents[name]) for name in _ORDER if name in documents]


def rewrite_page(text: str, documents: Mapping[str, dict[str, Any]]) -> str:
    """Rewrite the measured parts of a page from these documents."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]](documents)}\n{part[3]}", text)


def main() -> None:
    """Draw the chart and write the page."""
    documents = read_documents()
    if documents:
        from bench.chart import draw_chart  # noqa: PLC0415 - the tests read this module without matplotlib

        draw_chart({name: read_case(document) for name, document in documents.items()}, CHART)
    PAGE.write_text(rewrite_page(PAGE.read_text(encoding="utf-8"), documents), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
