"""Freezes: times without stops, shutdowns and restarts. Plain functions; time is an argument.

A window of the day or of the week follows the wall clock of its zone: the window holds while clocks there show a time
from its start and before its end. So a window over a clock change is an hour longer or shorter, and a time shown twice
counts twice.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator

from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.schedule import (
    ONE_OR_MORE,
    CalendarFile,
    Days,
    TimeZone,
    first_second,
    load_zone,
    parse_days_or_calendar,
    raise_schedule_error,
    wrap_text,
)

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from orchestrator.playbook.calendars import DaysOff

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_YEAR = timedelta(days=366)
_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d|24:00"
_DAILY = re.compile(rf"({_CLOCK})\s*\.\.\s*({_CLOCK})", re.ASCII)
_WEEKLY = re.compile(rf"([A-Z]{{3}})\s+({_CLOCK})\s*\.\.\s*([A-Z]{{3}})\s+({_CLOCK})", re.ASCII)
_WHOLE_DAYS = re.compile(r"([A-Z]{3})(?:\s*\.\.\s*([A-Z]{3}))?", re.ASCII)
_FORMS = (
    "write 2027-12-24, 2027-12-24..2028-01-02, `FRI 17:00..MON 08:00`, SAT..SUN, `17:00..08:00`, "
    "or the path of an .ics file"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A time range of every day or of every week, on the wall clock; `end` is excluded.

    Attributes:
        start: time from midnight, or from Monday's midnight.
        end: the same; an earlier end is in the next day or week.
        period: a day or a week.
        text: the text in the file.
    """

    start: timedelta
    end: timedelta
    period: timedelta
    text: str

    def covers(self, wall: datetime) -> bool:
        """Return True if a clock with this time is within the window."""
        since = timedelta(days=wall.weekday()) if self.period == _WEEK else timedelta()
        now = since + timedelta(hours=wall.hour, minutes=wall.minute, seconds=wall.second)
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def list_edges(self, monday: date) -> Iterator[datetime]:
        """Yield the local times of all starts and ends in the week of a Monday; the last may be in the next week."""
        begins = datetime.combine(monday, time())
        for number in range(1 if self.period == _WEEK else 7):
            yield begins + number * _DAY + self.start
            yield begins + number * _DAY + self.end


FreezeGuard = Literal["not_during", "only_during"]
GUARDS: tuple[FreezeGuard, ...] = ("not_during", "only_during")
"""The guards with times."""

Entry = Days | Window | CalendarFile


def _parse_entry(value: object) -> Entry:
    text = value.strip() if isinstance(value, str) else str(value)
    if daily := _DAILY.fullmatch(text):
        return _make_window(_parse_clock(daily[1]), _parse_clock(daily[2]), _DAY, text)
    if weekly := _WEEKLY.fullmatch(text.upper()):
        start, end = (_parse_weekday(weekly[i], text) * _DAY + _parse_clock(weekly[i + 1]) for i in (1, 3))
        return _make_window(start, end, _WEEK, text)
    if days := _WHOLE_DAYS.fullmatch(text.upper()):
        first = _parse_weekday(days[1], text)
        last = _parse_weekday(days[2], text) if days[2] else first
        return _make_window(first * _DAY, (last + 1) * _DAY, _WEEK, text)
    if not text.lower().endswith(".ics") and not re.match(r"\d{4}-", text):
        says = f"must be a date, a range, a window of the day or week or an .ics file, not {text[:60]!r}"
        raise_schedule_error(says, _FORMS)
    return parse_days_or_calendar(text)


def _make_window(start: timedelta, end: timedelta, period: timedelta, text: str) -> Window:
    if start % period == end % period and end - start != period:
        whole = "00:00..24:00" if period == _DAY else "MON..SUN"
        raise_schedule_error(f"the window {text!r} ends at its start", f"write {whole} for the whole time")
    return Window(start % period, end if end == period else end % period, period, text)


def _parse_clock(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _parse_weekday(text: str, given: str) -> int:
    if text not in _WEEKDAYS:
        raise_schedule_error(f"there is no weekday {text!r} in {given[:60]!r}", f"weekdays are {', '.join(_WEEKDAYS)}")
    return _WEEKDAYS.index(text)


def _check_not_empty(entries: list[Entry]) -> list[Entry]:
    if not entries:
        raise ValueError("must name a time; leave the whole guard out for no freeze")
    return entries


class Times(DocumentedModel):
    """Dates and windows of time, in a time zone."""

    timezone: TimeZone
    """Time zone of `on`, such as `Europe/Berlin` or `UTC`."""
    on: Annotated[
        list[Annotated[Entry, PlainValidator(_parse_entry)]],
        BeforeValidator(wrap_text),
        AfterValidator(_check_not_empty),
        ONE_OR_MORE,
    ]
    """One or several of: a date, a range of dates, a window of the week (`FRI 17:00..MON 08:00`, `SAT..SUN`), a window
    of the day (`17:00..08:00`), an .ics file. A window excludes its end.
    """

    def document(self) -> dict[str, object]:
        """Return the values as in a file."""
        return {"timezone": self.timezone, "on": [each.text for each in self.on]}


@dataclass(frozen=True, slots=True)
class Freeze:
    """A guard `not_during` or `only_during`, with its calendars.

    Attributes:
        guard: the guard.
        times: the times of the guard.
        calendars: the calendars, by their text in `times`.
    """

    guard: FreezeGuard
    times: Times
    calendars: Mapping[str, "DaysOff"] = field(default_factory=dict, repr=False)

    @property
    def zone(self) -> "ZoneInfo":
        """The time zone of the times."""
        return load_zone(self.times.timezone)

    def find_entry(self, at: datetime) -> str | None:
        """Return the entry for a moment as text; None without an entry."""
        wall = at.astimezone(self.zone).replace(tzinfo=None)
        for entry in self.times.on:
            if isinstance(entry, Window):
                if entry.covers(wall):
                    return entry.text
            elif isinstance(entry, Days):
                if entry.first <= wall.date() <= entry.last:
                    return entry.text
            else:
                event = self.calendars[entry.text].event_at(at, wall.date())
                if event is not None:
                    return f"{event} ({entry.text})"
        return None

    def find_block(self, at: datetime) -> str | None:
        """Return the reason for a freeze at a moment, with the entry; None without a freeze."""
        entry = self.find_entry(at)
        if self.guard == "not_during":
            return None if entry is None else f"{entry}, {self.times.timezone}"
        if entry is not None:
            return None
        return f"outside {', '.join(each.text for each in self.times.on)}, {self.times.timezone}"

    def next_edge(self, at: datetime) -> datetime | None:
        """Return the next moment after `at` with a possible start or end of an entry; None without such a moment."""
        return min((edge for edge in self._list_edges(at) if edge > at), default=None)

    def _list_edges(self, at: datetime) -> Iterator[datetime]:
        from orchestrator.playbook.local_time import next_change, resolve_local_time  # noqa: PLC0415 - most have no freeze

        zone = self.zone
        today = at.astimezone(zone).date()
        monday = today - timedelta(days=today.weekday())
        yield next_change(zone, at)
        for entry in self.times.on:
            if isinstance(entry, Days):
                yield first_second(entry.first, zone)
                yield first_second(entry.last + _DAY, zone)
            elif isinstance(entry, Window):
                for begins in (monday - _WEEK, monday, monday + _WEEK):
                    for wall in entry.list_edges(begins):
                        resolved = resolve_local_time(wall, zone)
                        yield resolved.moment
                        yield resolved.second or resolved.moment
            else:
                yield from _list_calendar_edges(self.calendars[entry.text], at, today, zone)


def _list_calendar_edges(calendar: "DaysOff", at: datetime, today: date, zone: "ZoneInfo") -> Iterator[datetime]:
    """Yield the next edges of a calendar: the ends of the day and of the time range, or the next begins."""
    if today in calendar.days:
        yield first_second(today + _DAY, zone)
    else:
        later = min((day for day in calendar.days if day > today), default=None)
        if later is not None:
            yield first_second(later, zone)
    position = bisect_right(calendar.hours, at, key=lambda each: each[0])
    for begins, ends, _ in calendar.hours[max(0, position - 1) : position + 1]:
        yield begins
        yield ends


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze at a moment.

    Attributes:
        guard: the guard: `not_during` or `only_during`.
        entry: the entry, and its time zone.
        until: the end of the freeze, in the zone of the guard; None without an end within a year.
    """

    guard: FreezeGuard
    entry: str
    until: datetime | None

    @property
    def text(self) -> str:
        """The freeze in words."""
        until = "with no end within a year" if self.until is None else f"until {self.until.isoformat(' ', 'minutes')}"
        return f"frozen {until} ({self.entry})"


def find_block(freezes: Iterable[Freeze], at: datetime) -> str | None:
    """Return the guard and the entry of a freeze at a moment; None without a freeze."""
    found = ((each.guard, each.find_block(at)) for each in freezes)
    return next((f"frozen by `{guard}`: {block}" for guard, block in found if block is not None), None)


def find_freeze(freezes: Sequence[Freeze], at: datetime) -> Frozen | None:
    """Return the freeze at a moment; None without a freeze.

    Args:
        freezes: all guards hold together.
        at: the moment, with a zone.
    """
    for freeze in freezes:
        block = freeze.find_block(at)
        if block is not None:
            end = find_free_moment(freezes, at)
            return Frozen(freeze.guard, block, None if end is None else end.astimezone(freeze.zone))
    return None


def find_free_moment(freezes: Iterable[Freeze], at: datetime, within: timedelta = _YEAR) -> datetime | None:
    """Return the first moment without a freeze, from `at`; None if everything is frozen for this long."""
    freezes = tuple(freezes)
    moment = at.astimezone(UTC)
    last = moment + within
    while any(each.find_block(moment) is not None for each in freezes):
        edges = [edge for edge in (each.next_edge(moment) for each in freezes) if edge is not None]
        if not edges or min(edges) > last:
            return None
        moment = min(edges)
    return moment
