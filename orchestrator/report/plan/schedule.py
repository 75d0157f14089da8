"""A schedule for people and as a JSON document: its meaning, its firings, and the skipped firings with reasons."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.playbook.firings import Firing, LeftOut, Timetable, format_offset
from orchestrator.playbook.schedule import Schedule
from orchestrator.report.plan.cron_words import cron_in_words, step_warnings
from orchestrator.text import plural, safe_text
from orchestrator.times import format_duration

_COLUMNS = (27, 17)
"""How wide the local time and UTC are."""
_WIDE = 80
_INDENT = "    "
ALL_FROZEN = "every firing within a year is frozen; change the schedule or the freeze"


def in_words(schedule: Schedule) -> str:
    """Describe a cron expression and its time zone: `at 02:30 on Monday through Friday, Europe/Berlin`."""
    text = cron_in_words(schedule.cron)
    return f"{text[:1].lower()}{text[1:]}, {schedule.timezone}"


def describe_schedule(schedule: Schedule, coming: Firing | None, verb: str = "due") -> str:
    """Describe a schedule and its next firing.

    Args:
        schedule: the schedule.
        coming: the next firing.
        verb: `due` or `wake`.
    """
    after = f"next: {format_local(coming.local)}" if coming else "no firing within a year"
    return f"{verb} {in_words(schedule)}; {after}"


def format_firing(firing: Firing) -> str:
    """Format the planned time of a firing, and the start time if later."""
    starts = firing.moment.astimezone(firing.local.tzinfo)
    later = f" (starts at {starts:%H:%M:%S})" if firing.moment != firing.planned else ""
    return f"{format_local(firing.local)}{later}"


def format_local(local: datetime) -> str:
    """Format a moment in local time: `Sun 2027-03-28 03:00 +02:00`."""
    return f"{local:%a %Y-%m-%d %H:%M} {format_offset(local)}"


def head_lines(timetable: Timetable, *, is_frozen: bool = False) -> list[str]:
    """Describe a schedule in a few lines.

    Args:
        timetable: the schedule.
        is_frozen: whether every firing is frozen.
    """
    schedule = timetable.schedule
    facts = [f"jitter up to {format_duration(schedule.jitter)}"] if schedule.jitter else []
    facts += [f"from {schedule.from_}"] if schedule.from_ is not None else []
    facts += [f"until {schedule.until}"] if schedule.until is not None else []
    facts += [f"not on {', '.join(safe_text(each.text, 80) for each in schedule.not_on)}"] if schedule.not_on else []
    facts += [
        f"{each.guard.replace('_', ' ')} {', '.join(safe_text(entry.text, 80) for entry in each.times.on)} "
        f"({each.times.timezone})"
        for each in timetable.freezes
    ]
    facts += [f"warning: {each}" for each in (*step_warnings(schedule.cron), *([ALL_FROZEN] if is_frozen else []))]
    if timetable.wakes is not None:
        return [f"wake: {in_words(schedule)}", *(f"wake {each}" for each in facts)]
    return [f"{safe_text(timetable.name)}: {in_words(schedule)}", *facts]


def firing_rows(found: Iterable[Firing | LeftOut], width: int, *, has_wake: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table of firings, with a flag for lines about a real firing.

    Args:
        found: the result of `firings`.
        has_wake: whether the firings stop and start CVMs; the note of each line then begins with `stop` or `wake`.
        width: the width of the terminal, in characters. On a narrow terminal the words stand below the times.
    """
    head_line, table_width = f"{'local':{_COLUMNS[0]}}  {'UTC':{_COLUMNS[1]}}", sum(_COLUMNS) + 2
    yield (f"{head_line}  note" if width >= _WIDE else head_line[: max(width, _COLUMNS[0])].rstrip()), False
    for each in found:
        fires = isinstance(each, Firing)
        local, utc, why = (
            format_local(each.local),
            f"{each.planned:%Y-%m-%d %H:%M}Z",
            _explain_firing(each, has_wake=has_wake),
        )
        lines = [f"{local}  {utc}"] if width >= table_width else [local, f"{_INDENT}{utc}"]
        if width >= _WIDE:
            first, *rest = textwrap.wrap(why, width - table_width - 2) or [""]
            lines = [f"{lines[0]}  {first}".rstrip(), *(" " * (table_width + 2) + line for line in rest)]
        elif why:
            lines += textwrap.wrap(why, max(width, 20), initial_indent=_INDENT, subsequent_indent=_INDENT)
        for line in lines:
            yield line, fires


def _explain_firing(each: Firing | LeftOut, *, has_wake: bool) -> str:
    kind = ("wake" if each.is_wake else "stop") if has_wake else ""
    if isinstance(each, LeftOut):
        return f"{kind} skipped: {safe_text(each.reason)}".lstrip()
    starts = f"starts at {each.moment.astimezone(each.local.tzinfo):%H:%M:%S}" if each.latest != each.planned else ""
    return "; ".join(part for part in (kind, starts, each.note) if part)


def count_firings(found: Iterable[Firing | LeftOut], counts: Counter[type]) -> Iterator[Firing | LeftOut]:
    """Yield the same entries, and count the entries by kind on the way."""
    for each in found:
        counts[type(each)] += 1
        yield each


def summarize_firings(counts: Counter[type], start: datetime, end: datetime) -> str:
    """Describe the number of firings between two local times."""
    left = f", {counts[LeftOut]} skipped" if counts[LeftOut] else ""
    return f"{plural(counts[Firing], 'firing')}{left} from {format_local(start)} to {format_local(end)}"


def schedule_document(schedule: Schedule, *, is_frozen: bool = False) -> dict[str, Any]:
    """Build the JSON document of a schedule."""
    warnings = [("step_beyond_range", each) for each in step_warnings(schedule.cron)]
    warnings += [("schedule_frozen", ALL_FROZEN)] if is_frozen else []
    return {
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "words": in_words(schedule),
        "warnings": [{"code": code, "message": message} for code, message in warnings],
        "jitter_s": schedule.jitter,
        "not_on": [each.text for each in schedule.not_on],
        "from": _format_edge(schedule.from_),
        "until": _format_edge(schedule.until),
        "on_missed": schedule.on_missed,
        "on_overlap": schedule.on_overlap,
    }


def due_document(
    schedule: Schedule, coming: Firing | None, verb: str = "due", *, is_frozen: bool = False
) -> dict[str, Any]:
    """Build the schedule part of `validate --json`: the schedule, its next firing, and a sentence about both.

    Args:
        schedule: the schedule.
        coming: the next firing.
        verb: `due` or `wake`.
        is_frozen: whether every firing is frozen.
    """
    planned = None if coming is None else _format_utc(coming.planned)
    return {
        **schedule_document(schedule, is_frozen=is_frozen),
        "next": planned,
        "says": describe_schedule(schedule, coming, verb),
    }


def explain_document(
    timetable: Timetable,
    file: str,
    found: Iterable[Firing | LeftOut],
    time_range: tuple[datetime, datetime],
    fault: OrchestratorError | None = None,
    *,
    mismatch: str | None = None,
    wake: Timetable | None = None,
    is_frozen: bool = False,
) -> dict[str, Any]:
    """Build the document of `schedule explain --json`.

    Args:
        timetable: the schedule.
        file: the playbook's file.
        found: the firings, and the firings left out.
        time_range: the begin and the end of the time.
        fault: the reason why the file is unusable; the timetable is then the last valid version.
        mismatch: the reason why the playbook's workspaces do not match the settings.
        wake: the times of the starts of the stopped CVMs; None without `wake`.
        is_frozen: whether every firing is frozen.
    """
    fires: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for each in found:
        times = {
            "planned": _format_utc(each.planned),
            "local": each.local.isoformat(),
            "wanted": each.wanted.isoformat(timespec="minutes"),
            **({"wake": True} if each.is_wake else {}),
        }
        if isinstance(each, LeftOut):
            left.append({**times, "code": each.code.value, "reason": each.reason})
        else:
            moments = {"starts": _format_utc(each.moment), "latest": _format_utc(each.latest)}
            fires.append({**times, **moments, "decision": each.decision.value, "note": each.note or None})
    return {
        "playbook": timetable.name,
        "file": file,
        "invalid": None if fault is None else {"error": str(fault), "hint": fault.hint},
        "workspaces_error": mismatch,
        "schedule": schedule_document(timetable.schedule, is_frozen=is_frozen),
        "wake": None if wake is None else schedule_document(wake.schedule),
        "from": _format_utc(time_range[0]),
        "to": _format_utc(time_range[1]),
        "firings": fires,
        "left_out": left,
    }


def _format_edge(edge: date | datetime | None) -> str | None:
    return None if edge is None else edge.isoformat()


def _format_utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
