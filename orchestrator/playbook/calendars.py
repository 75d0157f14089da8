"""Calendars in .ics files, whose events a schedule leaves out."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.errors import PlaybookError

MAX_BYTES = 5_000_000
_OFTEN = frozenset({"SECONDLY", "MINUTELY", "HOURLY"})
_DAY = timedelta(days=1)
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What the library raises on calendars that make no sense."""


class IcsCalendar:
    """The events of one file: all-day ones last whole days of the schedule's zone, the others from time to time.

    Recurring events are expanded year by year, as they are asked for.
    """

    def __init__(self, query: Any, zone: ZoneInfo, file: Path) -> None:  # noqa: ANN401 - the library has no types
        self._query, self._zone, self._file = query, zone, file
        self._years: dict[int, tuple[dict[date, str], list[tuple[datetime, datetime, str]]]] = {}

    def event_at(self, moment: datetime, day: date) -> str | None:
        """What goes on at this moment, or all of this day; None where nothing does.

        Raises:
            PlaybookError: when a recurring event makes no sense.
        """
        days, hours = self._year(day.year)
        if day in days:
            return days[day]
        return next((what for begins, ends, what in hours if begins <= moment < ends), None)

    def _year(self, year: int) -> tuple[dict[date, str], list[tuple[datetime, datetime, str]]]:
        if year not in self._years:
            try:
                # A day more on both sides: the library goes by the clocks of each event.
                found = self._query.between(date(year, 1, 1) - _DAY, date(year + 1, 1, 1) + _DAY)
                self._years[year] = self._sorted(found)
            except _BROKEN as error:
                raise _broken(self._file, error) from error
        return self._years[year]

    def _sorted(self, found: Iterable[Any]) -> tuple[dict[date, str], list[tuple[datetime, datetime, str]]]:
        days: dict[date, str] = {}
        hours = []
        for event in found:
            if str(event.get("STATUS", "")).upper() == "CANCELLED":
                continue
            begins, ends = event.start, event.end
            what = str(event.get("SUMMARY", "")).strip() or "an event"
            if isinstance(begins, datetime):
                hours.append((self._utc(begins), self._utc(ends), what))
                continue
            while begins < ends:
                days.setdefault(begins, what)
                begins += _DAY
        return days, hours

    def _utc(self, when: date) -> datetime:
        moment = when if isinstance(when, datetime) else datetime.combine(when, time())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)).astimezone(UTC)


def read_calendar(file: Path, zone: ZoneInfo) -> IcsCalendar:
    """Read an .ics file.

    Args:
        file: where it is.
        zone: of events that name none.

    Raises:
        PlaybookError: when it is missing, unreadable, too large, no calendar, or has events that repeat within a day.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlaybookError(f"the calendar {file} can't be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PlaybookError(f"the calendar {file} has more than {MAX_BYTES:,} bytes")
    import icalendar  # noqa: PLC0415 - a quarter of a second, for the schedules that name a file
    import recurring_ical_events  # noqa: PLC0415 - the same

    try:
        calendar: Any = icalendar.Calendar.from_ical(data)
        for event in calendar.walk("VEVENT"):
            _check(event, file)
        query = recurring_ical_events.of(calendar)
    except _BROKEN as error:
        raise _broken(file, error) from error
    return IcsCalendar(query, zone, file)


def _check(event: Any, file: Path) -> None:  # noqa: ANN401 - the library has no types
    if event.errors:
        raise ValueError("; ".join(reason for _, reason in event.errors))
    begins = event.start
    if isinstance(begins, datetime) and begins.tzinfo is None and "TZID" in event["DTSTART"].params:
        raise ValueError(f"there is no time zone {event['DTSTART'].params['TZID']!r}")
    rules = event.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        frequency = {str(each).upper() for each in rule.get("FREQ", [])}
        if not frequency:
            raise ValueError("an event has a rule without FREQ")
        if _OFTEN & frequency:
            name = str(event.get("SUMMARY", "")).strip() or "an event"
            raise PlaybookError(
                f"the calendar {file} has an event that repeats within a day: {name[:60]!r}",
                hint="events may repeat daily, weekly, monthly or yearly",
            )


def _broken(file: Path, error: Exception) -> PlaybookError:
    reason = " ".join(str(error).split())[:200]
    return PlaybookError(f"the calendar {file} can't be used: {reason or type(error).__name__}")
