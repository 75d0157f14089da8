"""The tables of all CVMs by teepod, with a small timeline in every row."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from orchestrator.report.formatting import after, between
from orchestrator.report.full.phrases import done, ended_badly, named, sign
from orchestrator.report.html.elements import Cell, Content, e, table
from orchestrator.safe_text import safe_text

_OPEN = 40
"""Up to so many CVMs the tables stand open."""

_A_GROUP = 250
_LANE = 1000


def tables(targets: list[Mapping[str, Any]], length: float) -> Iterator[Content]:
    """Make the tables of targets, in sections to open: a table for every teepod, several for a large teepod.

    Args:
        targets: the targets of the report's document, in the order of display.
        length: the duration of the run, in seconds.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for target in targets:
        groups.setdefault(target["cvm"]["teepod"] or str(target["cvm"]["teepod_id"] or "no teepod"), []).append(target)
    for teepod, members in sorted(groups.items(), key=lambda group: _by_number(group[0])):
        for first in range(0, len(members), _A_GROUP):
            part = members[first : first + _A_GROUP]
            span = f", {first + 1:,} to {first + len(part):,}" if len(members) > _A_GROUP else ""
            tally = ", ".join(
                f"{number:,} {name}"
                for name, number in Counter(each["stage"] for each in part if each["taken_up_by"] is None).items()
            )
            title = f"{safe_text(teepod, 64)}{span}"
            mark = max(
                (sign(each["stage"]) for each in part if each["taken_up_by"] is None), key="✓…✗".find, default="→"
            )
            yield e(
                "details",
                e("summary", f"{mark} {title}: {tally}"),
                table(f"CVMs on {title}", _HEAD, (_row(target, length) for target in part)),
                open="" if len(targets) <= _OPEN else None,
            )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a sort key to put `prod-2` before `prod-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


_HEAD = [
    ("CVM", ""),
    ("from its first request to its end", "lane"),
    ("outcome", "nowrap"),
    ("asked at", "num"),
    ("accepted after", "num"),
    ("settled after", "num"),
    ("requests", "num"),
    ("action", "acts"),
    ("app", "mono"),
]


def _row(target: Mapping[str, Any], length: float) -> list[Cell]:
    cvm, stage = target["cvm"], target["stage"]
    mark = sign(stage) if target["taken_up_by"] is None else "→"
    address = safe_text(cvm["id"] or cvm["vm_uuid"] or "-", 40)
    wave = f", wave {target['wave']}" if target["wave"] > 1 else ""
    return [
        [safe_text(named(target), 120), e("span", address, cls="sub mono")],
        _lane(target, length),
        f"{mark} {stage}",
        after(target["intent_s"]),
        between(target["intent_s"], target["accepted_s"]) + (" (seen)" if target["observed"] else ""),
        between(target["accepted_s"], target["ended_s"]),
        str(target["attempts"]),
        done(target) + wave,
        safe_text(cvm["app_id"], 12),
    ]


def _lane(target: Mapping[str, Any], length: float) -> Element | None:
    """Draw the time spans of a CVM. The figures beside the picture state the same."""
    bars = [e("path", cls=kind, d=_level(begin, end, length)) for kind, begin, end in stretches(target, length)]
    if not bars:
        return None
    if target["ended_s"] is not None and ended_badly(target):
        bars.append(e("path", cls="otherwise", d=_level(target["ended_s"], target["ended_s"], length)))
    return e("svg", *bars, cls="bar", viewBox=f"0 0 {_LANE} 14", preserveAspectRatio="none", aria_hidden="true")


def stretches(target: Mapping[str, Any], length: float) -> list[tuple[str, float, float]]:
    """Return the time spans of a target's states: asked for, settling, escalated; in seconds of the run.

    Args:
        target: the target of the report's document.
        length: the duration of the run; an open span lasts until then.
    """
    begin, accepted, escalated = target["intent_s"], target["accepted_s"], target["escalated_s"]
    if begin is None:
        return []
    turns = [("asked", begin), ("settling", accepted), ("escalated", escalated)]
    known = [(kind, max(begin, at)) for kind, at in turns if at is not None]
    last = max(known[-1][1], length if target["ended_s"] is None else target["ended_s"])
    ends = [at for _, at in known[1:]] + [last]
    return [(kind, at, max(at, end)) for (kind, at), end in zip(known, ends, strict=True)]


def _level(begin: float, end: float, length: float) -> str:
    first, last = round(begin / length * _LANE), round(end / length * _LANE)
    first, last = min(first, _LANE - 4), max(last, first + 4)  # never too short to be seen
    return f"M{first} 7H{last}"
