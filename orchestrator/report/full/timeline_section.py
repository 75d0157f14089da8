"""The timeline section: the progress of all CVMs over time, a row for every CVM, and the figures of both."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.report.full.blocks import (
    Bar,
    Block,
    Cell,
    Code,
    ColumnKind,
    CvmName,
    Heading,
    Paragraph,
    RowChart,
    Section,
    Table,
    TableColumn,
    TableGroup,
    TableGroups,
    TimeChart,
)
from orchestrator.report.full.charts import Series, Spans
from orchestrator.report.full.phrases import action_words, cvm_name, has_failed, stage_mark
from orchestrator.report.full.progress import count_stages
from orchestrator.report.layout import after, between

_Target = Mapping[str, Any]

_NAMED_ROWS = 60
"""Up to so many CVMs have their names beside the chart's rows."""

_LISTED = 10_000
"""Up to so many CVMs have a row in the tables; a page of more would open slowly."""

_OPEN = 40
"""Up to so many CVMs the tables are open at first."""

_A_GROUP = 250

_KEYS = {
    "waiting": "not sent yet",
    "asked": "sent, not accepted yet",
    "settling": "accepted, settling",
    "escalated": "not down in time, force-stopped",
    "as_wanted": "ended as wanted",
    "otherwise": "ended otherwise",
}

_COLUMNS = (
    TableColumn("CVM"),
    TableColumn("first request to end", ColumnKind.BAR),
    TableColumn("outcome", ColumnKind.WORD),
    TableColumn("sent at", ColumnKind.NUMBER),
    TableColumn("accepted after", ColumnKind.NUMBER),
    TableColumn("settled after", ColumnKind.NUMBER),
    TableColumn("requests", ColumnKind.NUMBER),
    TableColumn("action", ColumnKind.ACTION),
    TableColumn("app", ColumnKind.CODE),
)


def describe_timeline(document: Mapping[str, Any]) -> Section:
    """Describe the timeline: charts, durations, and a table of the CVMs of every teepod."""
    targets = sorted(
        document["targets"], key=lambda each: each["intent_s"] if each["intent_s"] is not None else float("inf")
    )
    if not targets:
        return Section("timeline", "Timeline", [Paragraph("The run had no targets.")], is_empty=True)
    length = max(document["times"]["length_s"], 0.1)
    paused = document["run"]["paused_s"]
    end = "end" if document["run"]["state"] == "finished" else "last record"
    note = f" Interruptions of {after(sum(paused))} are left out." if paused else ""
    listed = targets if len(targets) <= _LISTED else [each for each in targets if has_failed(each)]
    is_whole = listed is targets
    left_out = "" if is_whole else f" The {len(targets) - len(listed):,} others are in the CSV and JSON formats."
    blocks: list[Block] = [
        Paragraph(f"From the run's start to its {end}: {after(length)}.{note}"),
        _progress_chart(targets, length),
        _row_chart(targets, length),
        *_describe_durations(document["times"]),
        Heading("Every CVM" if is_whole else "Every CVM without the wanted result"),
        Paragraph(
            f"By teepod, in the order of the requests. Times count from the run's start.{left_out}", is_note=True
        ),
        TableGroups(list(_teepod_groups(listed, length)), is_open=len(listed) <= _OPEN),
    ]
    return Section("timeline", "Timeline", blocks)


def _progress_chart(targets: Sequence[_Target], length: float) -> TimeChart:
    found = count_stages(targets, length)
    counts = [found.otherwise, found.as_wanted, found.settling, found.asked, found.waiting]
    kinds = ["otherwise", "as_wanted", "settling", "asked", "waiting"]
    series = [Series(_KEYS[kind], kind, values) for kind, values in zip(kinds, counts, strict=True)]
    ends = ", ".join(f"{values[-1]:,} {_KEYS[kind]}" for kind, values in zip(kinds, counts, strict=True) if values[-1])
    return TimeChart(
        caption="Progress of all CVMs (colours from top to bottom)",
        summary=f"At the end, of {len(targets):,} targets: {ends or 'all in a later step'}.",
        keys=[(kind, _KEYS[kind]) for kind in reversed(kinds)],
        seconds_each=found.seconds_each,
        series=series,
        length=length,
        is_stacked=True,
    )


def _row_chart(targets: Sequence[_Target], length: float) -> RowChart:
    drawn: dict[str, list[tuple[int, float, float]]] = {kind: [] for kind in ("asked", "settling", "escalated")}
    bad = []
    for row, target in enumerate(targets):
        for kind, begin, end in time_spans(target, length):
            drawn[kind].append((row, begin, end))
        if target["ended_s"] is not None and has_failed(target):
            bad.append((row, target["ended_s"], target["ended_s"]))
    kinds = [kind for kind in drawn if kind != "escalated" or drawn[kind]]
    is_named = len(targets) <= _NAMED_ROWS
    return RowChart(
        caption="Every CVM as a row, the first request on top",
        summary=f"{len(targets):,} CVMs from first request to end; the tables below have the figures.",
        keys=[*((kind, _KEYS[kind]) for kind in kinds), ("otherwise dots", _KEYS["otherwise"])],
        length=length,
        labels=[cvm_name(target) if is_named else None for target in targets],
        spans=[
            *(Spans(_KEYS[kind], kind, drawn[kind]) for kind in kinds),
            Spans(_KEYS["otherwise"], "otherwise", bad, dots=True),
        ],
    )


def _describe_durations(times: Mapping[str, Any]) -> Iterator[Block]:
    names = {"intent_to_accepted_s": "request to acceptance", "accepted_to_end_s": "acceptance to end"}
    rows = [
        (words, *(after(spread[key]) for key in ("half", "nine_tenths", "all")))
        for name, words in names.items()
        if (spread := times[name])
    ]
    columns = (
        TableColumn("duration"),
        TableColumn("median", ColumnKind.NUMBER),
        TableColumn("90 %", ColumnKind.NUMBER),
        TableColumn("longest", ColumnKind.NUMBER),
    )
    if rows:
        yield Heading("Durations")
        yield Table("Durations of the CVMs", columns, rows)


def _teepod_groups(targets: Sequence[_Target], length: float) -> Iterator[TableGroup]:
    """Make a table for every teepod, and several tables for a large teepod."""
    teepods: dict[str, list[_Target]] = {}
    for target in targets:
        teepods.setdefault(str(target["cvm"]["teepod"] or target["cvm"]["teepod_id"] or "no teepod"), []).append(target)
    for teepod, members in sorted(teepods.items(), key=lambda group: _by_number(group[0])):
        for first in range(0, len(members), _A_GROUP):
            part = members[first : first + _A_GROUP]
            last_words = [each["stage"] for each in part if each["taken_up_by"] is None]
            span = f", {first + 1:,} to {first + len(part):,}" if len(members) > _A_GROUP else ""
            tally = ", ".join(f"{number:,} {name}" for name, number in Counter(last_words).items())
            mark = max(map(stage_mark, last_words), key="✓…✗".find, default="→")
            title = f"{teepod[:64]}{span}"
            rows = [_cvm_row(each, length) for each in part]
            yield TableGroup(
                f"{mark} {title}: {tally or 'in a later step'}",
                Table(f"CVMs on {title}", _COLUMNS, rows, shown=_A_GROUP),
            )


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a sort key to put `prod-2` before `prod-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]


def _cvm_row(target: _Target, length: float) -> Sequence[Cell]:
    cvm, stage = target["cvm"], target["stage"]
    mark = stage_mark(stage) if target["taken_up_by"] is None else "→"
    wave = f", wave {target['wave']}" if target["wave"] > 1 else ""
    return (
        CvmName(cvm_name(target), str(cvm["id"] or cvm["vm_uuid"] or "-")),
        _build_bar(target, length),
        f"{mark} {stage}",
        after(target["intent_s"]),
        between(target["intent_s"], target["accepted_s"]) + (" (observed)" if target["observed"] else ""),
        between(target["accepted_s"], target["ended_s"]),
        str(target["attempts"]),
        action_words(target) + wave,
        Code(str(cvm["app_id"] or "-")[:12]),
    )


def _build_bar(target: _Target, length: float) -> Bar:
    spans = [(kind, begin / length, end / length) for kind, begin, end in time_spans(target, length)]
    if spans and target["ended_s"] is not None and has_failed(target):
        spans.append(("otherwise", target["ended_s"] / length, target["ended_s"] / length))
    return Bar(spans)


def time_spans(target: _Target, length: float) -> list[tuple[str, float, float]]:
    """Return the time spans of a target's states: asked, settling, escalated; in seconds of the run.

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
