"""The timeline: the progress of all CVMs over time, a row for every CVM, and the figures behind both."""

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import after
from orchestrator.report.full.charts import Series, Spans, over_time, rows
from orchestrator.report.full.html.cvms import stretches, tables
from orchestrator.report.full.phrases import ended_badly, named
from orchestrator.report.full.progress import progress
from orchestrator.report.html.elements import e, figure, section, table

_NAMED_ROWS = 60
"""Up to so many CVMs have their names beside the chart's rows."""


_LISTED = 10_000
"""Up to so many CVMs have all of them a row in the tables; a page of more would open slowly."""

_FROM_START = "Times count from the run's start."

_KEYS = {
    "waiting": "not asked for yet",
    "asked": "asked for, not accepted yet",
    "settling": "accepted, settling",
    "escalated": "not down in time, power pulled",
    "as_wanted": "ended as wanted",
    "otherwise": "ended otherwise",
}


def timeline(document: Mapping[str, Any]) -> Element:
    """Make the section of the timeline."""
    targets = sorted(
        document["targets"], key=lambda each: each["intent_s"] if each["intent_s"] is not None else float("inf")
    )
    if not targets:
        return section("timeline", "Timeline", e("p", "The run had no targets."))
    length = max(document["times"]["length_s"], 0.1)
    paused = document["run"]["paused_s"]
    end = "end" if document["run"]["state"] == "finished" else "last record"
    note = f" The {after(sum(paused))} in which the run lay interrupted are left out." if paused else ""
    listed = targets if len(targets) <= _LISTED else [each for each in targets if ended_badly(each)]
    left_out = (
        f" The {len(targets) - len(listed):,} others are in the CSV and JSON formats." if listed is not targets else ""
    )
    return section(
        "timeline",
        "Timeline",
        e("p", f"Time runs from the run's start to its {end}, {after(length)} later.{note}"),
        _progress(targets, length),
        _rows(targets, length),
        _spread(document["times"]),
        e("h3", "Every CVM" if listed is targets else "Every CVM that did not end as wanted"),
        e("p", f"By teepod, in the order in which they were asked for. {_FROM_START}{left_out}", cls="soft"),
        e("div", *tables(listed, length), cls="groups"),
    )


def _progress(targets: list[Mapping[str, Any]], length: float) -> Element:
    found = progress(targets, length)
    counts = [found.otherwise, found.as_wanted, found.settling, found.asked, found.waiting]
    kinds = ["otherwise", "as_wanted", "settling", "asked", "waiting"]
    series = [Series(_KEYS[kind], kind, values) for kind, values in zip(kinds, counts, strict=True)]
    ends = ", ".join(f"{values[-1]:,} {_KEYS[kind]}" for kind, values in zip(kinds, counts, strict=True) if values[-1])
    says = f"How many of {len(targets):,} CVMs stood where at each moment. At the end: {ends}."
    keys = [(kind, _KEYS[kind]) for kind in reversed(kinds)]
    return figure(
        "How far all CVMs were (from top to bottom)",
        keys,
        over_time(says, found.seconds_each, series, length=length, stacked=True),
    )


def _rows(targets: list[Mapping[str, Any]], length: float) -> Element:
    drawn: dict[str, list[tuple[int, float, float]]] = {kind: [] for kind in ("asked", "settling", "escalated")}
    bad = []
    for row, target in enumerate(targets):
        for kind, begin, end in stretches(target, length):
            drawn[kind].append((row, begin, end))
        if target["ended_s"] is not None and ended_badly(target):
            bad.append((row, target["ended_s"], target["ended_s"]))
    kinds = [kind for kind in drawn if kind != "escalated" or drawn[kind]]
    spans = [Spans(_KEYS[kind], kind, drawn[kind]) for kind in kinds]
    spans.append(Spans(_KEYS["otherwise"], "otherwise", bad, dots=True))
    few = len(targets) <= _NAMED_ROWS
    labels = [named(target) if few else None for target in targets]
    says = (
        f"Each of {len(targets):,} CVMs as a row from its first request to its end; the tables below have the figures."
    )
    keys = [*((kind, _KEYS[kind]) for kind in kinds), ("otherwise dots", _KEYS["otherwise"])]
    caption = "Every CVM as a row, the first asked for on top"
    return figure(caption, keys, rows(says, length, labels, spans))


def _spread(times: Mapping[str, Any]) -> Element | None:
    names = {
        "intent_to_accepted_s": "from the first request to its acceptance",
        "accepted_to_end_s": "from there to its end",
    }
    found = [(words, times[key]) for key, words in names.items() if times[key]]
    if not found:
        return None
    head = [("how long a CVM took", ""), ("half within", "num"), ("nine of ten within", "num"), ("all within", "num")]
    body = [[words, *(after(spread[key]) for key in ("half", "nine_tenths", "all"))] for words, spread in found]
    return table("How long CVMs took", head, body)
