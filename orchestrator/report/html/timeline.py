"""The timeline: how far all CVMs were at each moment, a row for every CVM, and the figures behind both."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.amounts import after, between
from orchestrator.report.charts import Series, Spans, over_time, rows
from orchestrator.report.html.elements import Cell, Content, e, figure, section, table
from orchestrator.report.progress import progress
from orchestrator.report.shown import shown
from orchestrator.report.words import done, ended_badly, is_wanted, moment_words, named

_NAMED_ROWS = 60
"""Up to so many CVMs have their names beside the chart's rows."""

_OPEN = 40
"""Up to so many CVMs the tables stand open."""

_A_GROUP = 250
_MOST_MOMENTS = 500
_LANE = 1000

_KEYS = {
    "waiting": "not asked for yet",
    "asked": "asked for, not accepted yet",
    "settling": "accepted, settling",
    "as_wanted": "ended as wanted",
    "otherwise": "ended otherwise",
}


def timeline(document: Mapping[str, Any]) -> Element:
    """The section."""
    targets = sorted(
        document["targets"], key=lambda each: each["intent_s"] if each["intent_s"] is not None else float("inf")
    )
    if not targets:
        return section("timeline", "Timeline", e("p", "The run had no targets."))
    length = max(document["times"]["length_s"], 0.1)
    paused = document["run"]["paused_s"]
    note = f" The {after(sum(paused))} in which the run lay interrupted are left out." if paused else ""
    return section(
        "timeline",
        "Timeline",
        e("p", f"Time runs from the run's start to its end, {after(length)} later.{note}"),
        _progress(targets, length),
        _rows(targets, length),
        _spread(document["times"]),
        e("h3", "Every CVM"),
        e("p", "By teepod, in the order in which they were asked for. Times count from the run's start.", cls="soft"),
        e("div", *_tables(targets, length), cls="groups"),
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
    asked, settling, bad = [], [], []
    for row, target in enumerate(targets):
        begin, accepted, end = target["intent_s"], target["accepted_s"], target["ended_s"]
        if begin is not None:
            asked.append((row, begin, next((at for at in (accepted, end) if at is not None), length)))
        if accepted is not None:
            settling.append((row, accepted, length if end is None else max(end, accepted)))
        if end is not None and ended_badly(target):
            bad.append((row, end, end))
    spans = [
        Spans(_KEYS["asked"], "asked", asked),
        Spans(_KEYS["settling"], "settling", settling),
        Spans(_KEYS["otherwise"], "otherwise", bad, dots=True),
    ]
    few = len(targets) <= _NAMED_ROWS
    labels = [named(target) if few else None for target in targets]
    says = (
        f"Each of {len(targets):,} CVMs as a row from its first request to its end; the tables below have the figures."
    )
    keys = [("asked", _KEYS["asked"]), ("settling", _KEYS["settling"]), ("otherwise dots", _KEYS["otherwise"])]
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


def _tables(targets: list[Mapping[str, Any]], length: float) -> Iterator[Content]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for target in targets:
        groups.setdefault(target["cvm"]["teepod"] or str(target["cvm"]["teepod_id"] or "no teepod"), []).append(target)
    for teepod, members in sorted(groups.items(), key=lambda group: _by_number(group[0])):
        for first in range(0, len(members), _A_GROUP):
            part = members[first : first + _A_GROUP]
            span = f", {first + 1:,} to {first + len(part):,}" if len(members) > _A_GROUP else ""
            tally = ", ".join(
                f"{number:,} {name}" for name, number in Counter(each["outcome"] for each in part).items()
            )
            title = f"{shown(teepod, 64)}{span}"
            sign = "✗" if any(map(ended_badly, part)) else "✓"
            yield e(
                "details",
                e("summary", f"{sign} {title}: {tally}"),
                table(f"CVMs on {title}", _HEAD, (_row(target, length) for target in part)),
                open="" if len(targets) <= _OPEN else None,
            )


def _by_number(name: str) -> list[tuple[int, str]]:
    """What sorts `prod-2` before `prod-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


_HEAD = [
    ("CVM", ""),
    ("from its first request to its end", "lane"),
    ("outcome", "nowrap"),
    ("asked at", "num"),
    ("accepted after", "num"),
    ("settled after", "num"),
    ("requests", "num"),
    ("action", ""),
    ("app", "mono"),
]


def _row(target: Mapping[str, Any], length: float) -> list[Cell]:
    cvm, outcome = target["cvm"], target["outcome"]
    sign = "✓ " if is_wanted(outcome) else "✗ " if target["taken_up_by"] is None else "→ "
    address = shown(cvm["id"] or cvm["vm_uuid"] or "-", 40)
    wave = f", wave {target['wave']}" if target["wave"] > 1 else ""
    return [
        [shown(named(target), 120), e("span", address, cls="sub mono")],
        _lane(target, length),
        sign + outcome,
        after(target["intent_s"]),
        between(target["intent_s"], target["accepted_s"]) + (" (seen)" if target["observed"] else ""),
        between(target["accepted_s"], target["ended_s"]),
        str(target["attempts"]),
        done(target) + wave,
        shown(cvm["app_id"], 12),
    ]


def _lane(target: Mapping[str, Any], length: float) -> Element | None:
    begin, accepted, end = target["intent_s"], target["accepted_s"], target["ended_s"]
    if begin is None:
        return None
    last = length if end is None else end
    turn = last if accepted is None else accepted
    asked = e("path", cls="asked", d=_level(begin, turn, length))
    settling = None if accepted is None else e("path", cls="settling", d=_level(accepted, last, length))
    bad = end is not None and ended_badly(target)
    wrong = e("path", cls="otherwise", d=_level(last, last, length)) if bad else None
    return e(
        "svg",
        asked,
        settling,
        wrong,
        cls="bar",
        viewBox=f"0 0 {_LANE} 14",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _level(begin: float, end: float, length: float) -> str:
    first, last = round(begin / length * _LANE), round(end / length * _LANE)
    first, last = min(first, _LANE - 4), max(last, first + 4)  # never too short to be seen
    return f"M{first} 7H{last}"


def moments(document: Mapping[str, Any]) -> Element | None:
    """The section of what happened apart from the usual course; None when nothing did."""
    happened = document["moments"]
    if not happened:
        return None
    body = [[f"{each['ts'][11:19]} UTC", after(each["at_s"]), moment_words(each)] for each in happened[:_MOST_MOMENTS]]
    head = [("at", "nowrap"), ("after", "num"), ("what", "words")]
    rest = len(happened) - len(body)
    more = e("p", f"And {rest:,} more, which the JSON document has.") if rest else None
    caption = "Interruptions, approvals, notices and the like"
    return section("moments", "What else happened", table(caption, head, body), more)
