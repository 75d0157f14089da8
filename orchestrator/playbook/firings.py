"""What a schedule comes to: every firing, every one that is left out, and why. Plain functions; time is an argument.

An expression that names hours goes by the clock: each time that it names fires once on each day, whatever the clocks
do. One that fires in every hour goes by elapsed time, as a clock on the wall passes it.
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

from orchestrator.moment import timestamp
from orchestrator.playbook.schedule import LAST_YEAR, Days, Schedule, first_second, last_second, load_zone
from orchestrator.playbook.walltime import Place, locate_wall_time, next_change

_SECOND = timedelta(seconds=1)
_BEFORE = timedelta(days=1, minutes=1)
"""No gap is longer than a day: what is moved into a stretch of time was meant for no earlier."""
_HOURS_OF_A_DAY = 24


class Calendar(Protocol):
    """A calendar of days and hours at which nothing is to fire."""

    def event_at(self, moment: datetime, day: date) -> str | None:
        """What goes on then, in a word or two; None where nothing does."""
        ...


class ClockCase(StrEnum):
    """How the moment of a firing was found."""

    PLAIN = "plain"
    """Clocks show the time once that day."""
    GAP = "gap"
    """Clocks skip the time that day: it fires at the first moment after the gap."""
    FOLD = "fold"
    """Clocks show the time twice that day: it fires at the first."""
    AGAIN = "again"
    """Clocks show the time for the second time; what fires in every hour does so again."""


class LeftOutCode(StrEnum):
    """Why nothing fires at a time that the cron expression names."""

    BEFORE_FROM = "before_from"
    AFTER_UNTIL = "after_until"
    NO_SUCH_DAY = "no_such_day"
    DAY_OFF = "day_off"
    """`not_on` names the day or the time."""
    SAME_MOMENT = "same_moment"
    """An earlier time falls on the same moment, since clocks were put forward."""
    SNOOZED = "snoozed"
    NOT_YET_ENABLED = "not_yet_enabled"
    """The schedule was not there yet, or was another one, when this was planned."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule with all that it refers to.

    Attributes:
        name: the playbook's; a firing's jitter depends on it.
        schedule: what the playbook says.
        calendars: the calendars that `not_on` names, by their text there.
    """

    name: str
    schedule: Schedule
    calendars: Mapping[str, Calendar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Firing:
    """One time at which the playbook is to run.

    Attributes:
        planned: when it is due, in UTC; what `from`, `until` and `not_on` look at, and its identity.
        local: the same, as clocks in the schedule's zone show it.
        wanted: the wall time that the cron expression names.
        moment: when it happens, in UTC: `planned` and its share of the jitter.
        latest: the last moment at which it could have happened, in UTC.
        decision: how `planned` was found.
        note: the same in words; empty where there is nothing to say.
    """

    planned: datetime
    local: datetime
    wanted: datetime
    moment: datetime
    latest: datetime
    decision: ClockCase
    note: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One time that the cron expression names, and at which nothing fires.

    Attributes:
        planned: when it would have been due, in UTC.
        local: the same, as clocks in the schedule's zone show it.
        wanted: the wall time that the cron expression names.
        code: why not.
        reason: the same in words.
        moment: when it would have happened, in UTC; None where that was not worked out.
    """

    planned: datetime
    local: datetime
    wanted: datetime
    code: LeftOutCode
    reason: str
    moment: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Due:
    wall: datetime
    place: Place
    decision: ClockCase = ClockCase.PLAIN
    note: str = ""


def list_firings(timetable: Timetable, start: datetime, end: datetime) -> Iterator[Firing | LeftOut]:
    """Every firing that is planned from `start` on and before `end`, and every one that is left out, in order.

    Args:
        timetable: the schedule.
        start: with a zone.
        end: with a zone.
    """
    schedule = timetable.schedule
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
        assert due is not None  # noqa: S101 - None is the last, and never the first of two
        planned = due.place.moment
        if planned >= end:
            return
        why_not = _check_window(schedule, planned, opens, closes) or _find_omission(timetable, due, fired)
        if why_not is None:
            fired = planned
        if planned < start:
            continue
        local = planned.astimezone(zone)
        if why_not is not None:
            yield LeftOut(planned, local, due.wall, *why_not)
            continue
        latest = planned + timedelta(seconds=int(schedule.jitter))
        if following is not None:
            latest = min(latest, max(following.place.moment - _SECOND, planned))
        latest = min(latest, closes or latest)
        moment = planned + _compute_jitter(timetable.name, planned, latest)
        yield Firing(planned, local, due.wall, moment, latest, due.decision, due.note)


def find_next_firing(timetable: Timetable, now: datetime, within: timedelta = timedelta(days=366)) -> Firing | None:
    """The first firing that is planned from `now` or `from` on; None where none is so soon."""
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
    """Each wall time that the expression names, once."""
    for wall in CronSim(cron, start.astimezone(zone).replace(tzinfo=None) - _BEFORE):
        place = locate_wall_time(wall, zone)
        if place.gap is not None:
            gap = f"clocks went from {place.gap.begins:%H:%M} to {place.gap.ends:%H:%M}"
            yield _Due(wall, place, ClockCase.GAP, f"moved from {wall:%H:%M}, which there is not: {gap}")
        elif place.second is not None:
            offset = place.second.astimezone(zone)
            yield _Due(
                wall, place, ClockCase.FOLD, f"the first of two; not again at {wall:%H:%M} {format_offset(offset)}"
            )
        else:
            yield _Due(wall, place)


def _list_elapsed_times(schedule: Schedule, start: datetime) -> Iterator[_Due]:
    """Each moment at which clocks show a time that the expression names.

    Between two changes of the clocks the wall time goes on evenly, so that the library needs to know no zone.
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
            yield _Due(wall, Place(moment), ClockCase.AGAIN if again else ClockCase.PLAIN, note)
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
    gap = due.place.gap
    if gap is not None and gap.covers_day(day):
        return LeftOutCode.NO_SUCH_DAY, f"there is no {day} in {timetable.schedule.timezone}"
    off = find_day_off(timetable, due.place.moment, day)
    if off is not None:
        return LeftOutCode.DAY_OFF, off
    if due.place.moment == fired:
        reason = f"{due.wall:%H:%M} and an earlier one fall on one moment, which fires once"
        return LeftOutCode.SAME_MOMENT, reason
    return None


def find_day_off(timetable: Timetable, planned: datetime, day: date) -> str | None:
    """The entry of `not_on` that leaves this moment of this local day out; None where no entry does."""
    for number, entry in enumerate(timetable.schedule.not_on):
        place = f"not_on[{number}]"
        if isinstance(entry, Days):
            if entry.first <= day <= entry.last:
                return f"{place}: {entry.text}"
            continue
        event = timetable.calendars[entry.text].event_at(planned, day)
        if event is not None:
            return f"{place}: {event} ({entry.text})"
    return None


def _compute_jitter(name: str, planned: datetime, latest: datetime) -> timedelta:
    """How much later a firing happens, in whole seconds: always the same for the same playbook and moment."""
    seed = hashlib.sha256(f"{name}\0{timestamp(planned)}".encode()).digest()
    seconds = int((latest - planned).total_seconds())
    return timedelta(seconds=int.from_bytes(seed[:8], "big") % (seconds + 1))


def format_offset(local: datetime) -> str:
    """How far clocks are from UTC: `+01:00`."""
    text = local.strftime("%z")
    return f"{text[:3]}:{text[3:5]}"
