"""Compute the firings of a schedule, and the omitted firings with reasons. Plain functions; time is an argument.

An expression with certain hours follows the wall clock: every named time fires once a day, even on days with a clock
change. An expression with all 24 hours follows elapsed time, as a wall clock passes the named times.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import chain, pairwise
from typing import Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim

from orchestrator.playbook.freeze import Freeze
from orchestrator.playbook.local_time import ResolvedTime, next_change, resolve_local_time
from orchestrator.playbook.schedule import LAST_YEAR, Days, Schedule, first_second, last_second, load_zone
from orchestrator.times import timestamp

_SECOND = timedelta(seconds=1)
_BEFORE = timedelta(days=1, minutes=1)
"""The longest gap of local time is a day, so an earlier local time never moves into the searched time."""
_HOURS_OF_A_DAY = 24


class Calendar(Protocol):
    """A calendar of days and hours without firings."""

    def event_at(self, moment: datetime, day: date) -> str | None:
        """Return the event at this moment as a few words; None without an event."""
        ...


class ClockCase(StrEnum):
    """The relation of a firing's local time to clock changes."""

    PLAIN = "plain"
    """Clocks show the time once on this day."""
    GAP = "gap"
    """Clocks skip the time on this day; the firing moves to the first moment after the gap."""
    FOLD = "fold"
    """Clocks show the time twice on this day; the firing happens at the first moment."""
    AGAIN = "again"
    """Clocks show the time for the second time; a schedule of every hour fires again."""


class LeftOutCode(StrEnum):
    """Reasons for an omitted firing."""

    BEFORE_FROM = "before_from"
    AFTER_UNTIL = "after_until"
    NO_SUCH_DAY = "no_such_day"
    DAY_OFF = "day_off"
    """`not_on` names the day or the time."""
    SAME_MOMENT = "same_moment"
    """An earlier time falls on the same moment, because clocks were set forward."""
    SNOOZED = "snoozed"
    FROZEN = "frozen"
    """A freeze (`guards.not_during`, `guards.only_during`) covers the start time."""
    NOT_YET_ENABLED = "not_yet_enabled"
    """The schedule was new or changed: at the planned time, this schedule was not in force."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule with its calendars.

    Attributes:
        name: the playbook's name; the jitter of a firing depends on the name.
        schedule: the schedule of the playbook.
        calendars: the calendars of `not_on`, by their text there.
        freezes: the freezes for all actions of the playbook.
        wakes: the playbook whose stopped CVMs the firings start; None for runs of the playbook itself.
    """

    name: str
    schedule: Schedule
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    freezes: tuple[Freeze, ...] = ()
    wakes: str | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """A planned start of the playbook.

    Attributes:
        planned: planned time in UTC, compared with `from`, `until` and `not_on`; identifies the firing.
        local: the planned time in the schedule's zone.
        wanted: the local time in the cron expression.
        moment: start time in UTC: `planned` plus jitter.
        latest: the latest possible start time in UTC.
        decision: the relation of the local time to clock changes.
        note: the same in words; empty for a plain time.
        is_wake: whether the firing starts the CVMs stopped by the playbook.
    """

    planned: datetime
    local: datetime
    wanted: datetime
    moment: datetime
    latest: datetime
    decision: ClockCase
    note: str
    is_wake: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An omitted firing: a time in the cron expression without a start.

    Attributes:
        planned: planned time in UTC.
        local: the planned time in the schedule's zone.
        wanted: the local time in the cron expression.
        code: the reason.
        reason: the reason in words.
        moment: start time in UTC with jitter; None if not computed.
        is_wake: as in `Firing`.
    """

    planned: datetime
    local: datetime
    wanted: datetime
    code: LeftOutCode
    reason: str
    moment: datetime | None = None
    is_wake: bool = False


@dataclass(frozen=True, slots=True)
class _Due:
    wall: datetime
    resolved: ResolvedTime
    decision: ClockCase = ClockCase.PLAIN
    note: str = ""


def list_firings(timetable: Timetable, start: datetime, end: datetime) -> Iterator[Firing | LeftOut]:
    """Yield all firings and omitted firings planned from `start` and before `end`, in order.

    Args:
        timetable: the schedule.
        start: with a zone.
        end: with a zone.
    """
    schedule, is_wake = timetable.schedule, timetable.wakes is not None
    zone = load_zone(schedule.timezone)
    dues = (
        _list_clock_times(schedule.cron, zone, start)
        if _has_hours(schedule.cron)
        else _list_elapsed_times(schedule, start)
    )
    opens = first_second(schedule.from_, zone) if schedule.from_ is not None else None
    closes = last_second(schedule.until, zone) if schedule.until is not None else None
    fired: datetime | None = None
    for due, following in pairwise(chain(dues, (None,))):
        assert due is not None  # noqa: S101 - None is only the last of all
        planned = due.resolved.moment
        if planned >= end:
            return
        why_not = _check_window(schedule, planned, opens, closes) or _find_omission(timetable, due, fired)
        if why_not is None:
            fired = planned
        if planned < start:
            continue
        local = planned.astimezone(zone)
        if why_not is not None:
            yield LeftOut(planned, local, due.wall, *why_not, is_wake=is_wake)
            continue
        latest = planned + timedelta(seconds=int(schedule.jitter))
        if following is not None:
            latest = min(latest, max(following.resolved.moment - _SECOND, planned))
        latest = min(latest, closes or latest)
        moment = planned + _compute_jitter(timetable.name, planned, latest)
        yield Firing(planned, local, due.wall, moment, latest, due.decision, due.note, is_wake)


def find_next_firing(timetable: Timetable, now: datetime, within: timedelta = timedelta(days=366)) -> Firing | None:
    """Return the first firing from `now` or from the schedule's `from`; None without a firing in this time."""
    schedule = timetable.schedule
    zone = load_zone(schedule.timezone)
    start = now if schedule.from_ is None else max(now, first_second(schedule.from_, zone))
    end = start + within
    if schedule.until is not None:
        end = min(end, last_second(schedule.until, zone) + _SECOND)
    return next((each for each in list_firings(timetable, start, end) if isinstance(each, Firing)), None)


def _has_hours(cron: str) -> bool:
    return len(CronSim(cron, datetime(2000, 1, 1)).hours) < _HOURS_OF_A_DAY  # noqa: DTZ001 - only its fields matter


def _list_clock_times(cron: str, zone: ZoneInfo, start: datetime) -> Iterator[_Due]:
    """Yield every local time of the expression once."""
    for wall in CronSim(cron, start.astimezone(zone).replace(tzinfo=None) - _BEFORE):
        resolved = resolve_local_time(wall, zone)
        if resolved.gap is not None:
            gap = f"clocks went from {resolved.gap.begins:%H:%M} to {resolved.gap.ends:%H:%M}"
            yield _Due(wall, resolved, ClockCase.GAP, f"moved from {wall:%H:%M}, a skipped time: {gap}")
        elif resolved.second is not None:
            offset = resolved.second.astimezone(zone)
            yield _Due(
                wall,
                resolved,
                ClockCase.FOLD,
                f"first of two; no second firing at {wall:%H:%M} {format_offset(offset)}",
            )
        else:
            yield _Due(wall, resolved)


def _list_elapsed_times(schedule: Schedule, start: datetime) -> Iterator[_Due]:
    """Yield every moment with a local time of the expression.

    Between two clock changes local time is continuous, so the library needs no zone.
    """
    zone = load_zone(schedule.timezone)
    opens = start - timedelta(minutes=1)
    while opens.year <= LAST_YEAR:
        closes = next_change(zone, opens)
        offset = opens.astimezone(zone).utcoffset() or timedelta()
        ends = (closes + offset).replace(tzinfo=None)
        for wall in CronSim(schedule.cron, (opens + offset).replace(tzinfo=None) - _SECOND):
            if wall >= ends:
                break
            moment = (wall - offset).replace(tzinfo=UTC)
            again = bool(moment.astimezone(zone).fold)
            note = "clocks show this time for the second time" if again else ""
            yield _Due(wall, ResolvedTime(moment), ClockCase.AGAIN if again else ClockCase.PLAIN, note)
        opens = closes


def _check_window(
    schedule: Schedule, planned: datetime, opens: datetime | None, closes: datetime | None
) -> tuple[LeftOutCode, str] | None:
    if opens is not None and planned < opens:
        return LeftOutCode.BEFORE_FROM, f"before `from`, {_format_edge(schedule.from_)}"
    if closes is not None and planned > closes:
        return LeftOutCode.AFTER_UNTIL, f"after `until`, {_format_edge(schedule.until)}"
    return None


def _format_edge(edge: date | datetime | None) -> str:
    return edge.isoformat(" ", "minutes") if isinstance(edge, datetime) else str(edge)


def _find_omission(timetable: Timetable, due: _Due, fired: datetime | None) -> tuple[LeftOutCode, str] | None:
    day = due.wall.date()
    gap = due.resolved.gap
    if gap is not None and gap.covers_day(day):
        return LeftOutCode.NO_SUCH_DAY, f"{day} does not exist in {timetable.schedule.timezone}"
    off = find_day_off(timetable, due.resolved.moment, day)
    if off is not None:
        return LeftOutCode.DAY_OFF, off
    if due.resolved.moment == fired:
        reason = f"{due.wall:%H:%M} falls on the same moment as an earlier firing"
        return LeftOutCode.SAME_MOMENT, reason
    return None


def find_day_off(timetable: Timetable, planned: datetime, day: date) -> str | None:
    """Return the sentence about the entry of `not_on` for this moment and local day; None without an entry."""
    for entry in timetable.schedule.not_on:
        if isinstance(entry, Days):
            if entry.first <= day <= entry.last:
                return f"excluded by `not_on`: {entry.text}"
            continue
        event = timetable.calendars[entry.text].event_at(planned, day)
        if event is not None:
            return f"excluded by `not_on`: {event} ({entry.text})"
    return None


def _compute_jitter(name: str, planned: datetime, latest: datetime) -> timedelta:
    """Compute the delay of a firing in whole seconds: always the same for the same playbook and moment."""
    seed = hashlib.sha256(f"{name}\0{timestamp(planned)}".encode()).digest()
    seconds = int((latest - planned).total_seconds())
    return timedelta(seconds=int.from_bytes(seed[:8], "big") % (seconds + 1))


def format_offset(local: datetime) -> str:
    """Format the offset from UTC: `+01:00`."""
    text = local.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"
