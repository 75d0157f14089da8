"""Compute the days and hours covered by the events of an iCalendar file (RFC 5545). Pure functions.

`calendars` runs this module in a process of its own, because a foreign file decides the amount of work.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
from dateutil.rrule import rrulestr

from orchestrator.playbook.calendars import DaysOff, Hours
from orchestrator.playbook.schedule import FIRST_YEAR, LAST_YEAR

MAX_TIMES = 300_000
"""Most days and time ranges of one file's events, before merging."""
_LONGEST_NAME = 80
_FIRST, _LAST = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
_DAY = timedelta(days=1)
_WHEN = ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID", "STATUS")
"""Properties that decide an event's time. A fault in another property does not matter."""
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_RANGES = {"BYMONTH": 12, "BYMONTHDAY": 31, "BYYEARDAY": 366, "BYWEEKNO": 53, "BYSETPOS": 366}
_TIMES = {"BYHOUR": range(24), "BYMINUTE": range(60), "BYSECOND": range(61)}
_KNOWN = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *_RANGES, *_TIMES}
_EVENT = re.compile(rb"^BEGIN:VEVENT[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_LIBRARY_FAULTS = (ValueError, TypeError, KeyError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""Exceptions raised by the libraries for invalid calendars."""


class CalendarError(Exception):
    """A calendar is unusable. The message names the event."""


class TooMuchWorkError(BaseException):
    """The time limit of a file has passed. A BaseException, so no handler for calendar faults catches the error."""


@dataclass(frozen=True, slots=True)
class _Event:
    """A VEVENT.

    Attributes:
        raw: the event as parsed by the library.
        zone: the zone of times without a zone.
        begins: the event's DTSTART; a `datetime` without a zone is in `clock`.
        clock: the zone of the event's repetitions; None for events of whole days.
        what: the event's summary.
    """

    raw: Any = field(repr=False)
    zone: ZoneInfo
    begins: date
    clock: tzinfo | None
    what: str

    def local_time(self, when: date) -> date:
        """Convert a day or time to the event's own local time."""
        if self.clock is None:
            return when.date() if isinstance(when, datetime) else when
        if not isinstance(when, datetime):
            return datetime.combine(when, time())
        return when.replace(tzinfo=None) if when.tzinfo is None else when.astimezone(self.clock).replace(tzinfo=None)


def find_days_off(data: bytes, zone: ZoneInfo) -> DaysOff:
    """Compute the days and hours covered by the events of a calendar, from 2000 to 2199.

    Args:
        data: content of the .ics file.
        zone: the zone of times without a zone.

    Raises:
        CalendarError: when an event is invalid, or the calendar has no events.
    """
    days: list[tuple[date, date, str]] = []
    hours: list[Hours] = []
    taken = 0
    events = _parse_events(data, zone)
    moved = _find_replaced(events)
    for event in events:
        try:
            for begins, ends in _list_times(event, moved):
                if isinstance(begins, datetime) and isinstance(ends, datetime):
                    hours.append((begins, ends, event.what))
                else:
                    days.append((begins, ends, event.what))
                taken += 1
                if taken > MAX_TIMES:
                    raise CalendarError(
                        f"the events take more than {MAX_TIMES:,} days, at {_describe_event(event.raw)}"
                    )
        except TooMuchWorkError:
            raise CalendarError(f"{_describe_event(event.raw)} takes too long to work out") from None
        except _LIBRARY_FAULTS as error:
            raise CalendarError(f"{_describe_event(event.raw)} cannot be worked out: {_error_text(error)}") from error
    return DaysOff(_merge_days(days), _merge_hours(hours))


def _parse_events(data: bytes, zone: ZoneInfo) -> list[_Event]:
    try:
        calendars: list[Any] = icalendar.Calendar.from_ical(data, multiple=True)
        found = [(each, calendar) for calendar in calendars for each in calendar.walk("VEVENT")]
    except _LIBRARY_FAULTS as error:
        raise CalendarError(f"the file is not an iCalendar file: {_error_text(error)}") from error
    if len(found) != len(_EVENT.findall(data)):
        raise CalendarError("the file is cut off, or its BEGIN and END lines do not match")
    if not found:
        raise CalendarError("the calendar has no events")
    return [_parse_event(raw, zone, calendar) for raw, calendar in found]


def _parse_event(raw: Any, zone: ZoneInfo, calendar: Any) -> _Event:  # noqa: ANN401 - the library has no types for it
    for name, reason in raw.errors:
        if name in _WHEN or (name is None and any(each in reason.upper() for each in _WHEN)):
            given = f": {name}:{str(raw[name])[:60]}" if name is not None and name in raw else ""
            raise CalendarError(f"{_describe_event(raw)} has a property that cannot be read{given}")
    if "EXRULE" in raw:
        raise CalendarError(
            f"{_describe_event(raw)} has an EXRULE, and calendar programs disagree about EXRULE; use EXDATE"
        )
    begins = _single_value(raw, "DTSTART")
    if begins is None:
        raise CalendarError(f"{_describe_event(raw)} has no DTSTART")
    if not isinstance(begins, date):
        raise CalendarError(f"{_describe_event(raw)} has a DTSTART that is neither a day nor a time")
    clock: tzinfo | None = None
    if isinstance(begins, datetime):
        clock = begins.tzinfo or zone
        if begins.tzinfo is not None and not begins.utcoffset() and "TZID" not in raw["DTSTART"].params:
            clock = _find_named_zone(calendar) or clock
        begins = begins.replace(tzinfo=None) if begins.tzinfo is None else begins.astimezone(clock).replace(tzinfo=None)
    return _Event(raw, zone, begins, clock, _event_summary(raw))


def _find_named_zone(calendar: Any) -> tzinfo | None:  # noqa: ANN401 - the library has no types for it
    """Return the named zone of a calendar with UTC times, for its repetitions."""
    try:
        return ZoneInfo(str(calendar["X-WR-TIMEZONE"]))
    except (KeyError, ValueError, OSError):
        return None


def _single_value(raw: Any, name: str) -> Any:  # noqa: ANN401 - the library has no types for it
    """Return the value of a property with at most a single occurrence."""
    found = raw.get(name)
    if isinstance(found, list):
        raise CalendarError(f"{_describe_event(raw)} has more than one {name}")
    if found is None:
        return None
    _check_zone(raw, name, found.dt, found.params)
    return found.dt


def _check_zone(raw: Any, name: str, value: Any, params: Any) -> None:  # noqa: ANN401 - no types
    if isinstance(value, datetime) and value.tzinfo is None and "TZID" in params:
        raise CalendarError(f"{_describe_event(raw)}: there is no time zone {params['TZID']!r} ({name})")


def _list_values(raw: Any, name: str) -> Iterator[Any]:  # noqa: ANN401 - the library has no types for it
    """Yield the values of a repeatable property; one line may have several values."""
    found = raw.get(name, [])
    for each in found if isinstance(found, list) else [found]:
        for value in each.dts:
            first = value.dt[0] if isinstance(value.dt, tuple) else value.dt
            _check_zone(raw, name, first, each.params)
            yield value.dt


def _find_replaced(events: Iterable[_Event]) -> dict[str, set[date]]:
    """Find the occurrences replaced by another entry with the same UID: days, or times in UTC."""
    found: dict[str, set[date]] = {}
    for event in events:
        replaced = _single_value(event.raw, "RECURRENCE-ID")
        if replaced is None:
            continue
        if str(event.raw["RECURRENCE-ID"].params.get("RANGE", "")).upper() == "THISANDFUTURE":
            raise CalendarError(
                f"{_describe_event(event.raw)} changes all later occurrences (RANGE=THISANDFUTURE); split it"
            )
        key = replaced if not isinstance(replaced, datetime) else _to_utc(replaced, event.zone)
        found.setdefault(_event_uid(event.raw), set()).add(key)
    return found


def _list_times(event: _Event, moved: Mapping[str, set[date]]) -> Iterator[tuple[date, date]]:
    """Yield first and last day of every occurrence, or start and end in UTC."""
    if str(event.raw.get("STATUS", "")).upper() == "CANCELLED":
        return
    left_out = _find_excluded(event)
    if "RECURRENCE-ID" not in event.raw:
        left_out |= moved.get(_event_uid(event.raw), set())
    if event.clock is None:
        left_out = {each.date() if isinstance(each, datetime) else each for each in left_out}
    length, is_elapsed = _compute_length(event)
    seen: set[date] = set()
    for begins, own_length in _list_occurrences(event):
        first, last = _compute_span(
            event, begins, own_length or length, is_elapsed=is_elapsed or own_length is not None
        )
        # A cancelled day cancels all occurrences of that day.
        if begins in seen or first in left_out or (isinstance(begins, datetime) and begins.date() in left_out):
            continue
        seen.add(begins)
        if isinstance(first, datetime) or (last >= _FIRST and first <= _LAST):
            yield first, last


def _compute_span(event: _Event, begins: date, length: timedelta, *, is_elapsed: bool) -> tuple[date, date]:
    if event.clock is None or not isinstance(begins, datetime):
        return max(begins, _FIRST), min(begins + length - _DAY, _LAST)
    first = _to_utc(begins, event.clock)
    return first, first + length if is_elapsed else _to_utc(begins + length, event.clock)


def _compute_length(event: _Event) -> tuple[timedelta, bool]:
    """Return the duration of an event, and True if the duration is elapsed time, not local time."""
    ends, duration = _single_value(event.raw, "DTEND"), _single_value(event.raw, "DURATION")
    name = _describe_event(event.raw)
    if ends is not None and duration is not None:
        raise CalendarError(f"{name} has both DTEND and DURATION")
    if duration is not None and not isinstance(duration, timedelta):
        raise CalendarError(f"{name} has an invalid DURATION")
    if ends is not None and isinstance(ends, datetime) != (event.clock is not None):
        raise CalendarError(f"{name}: DTSTART and DTEND must both be days, or both be times")
    exact = duration is not None and bool(duration % _DAY)
    length = event.local_time(ends) - event.begins if ends is not None else duration or timedelta()
    if length < timedelta():
        raise CalendarError(f"{name} ends before its start")
    if event.clock is None:
        if length % _DAY:
            raise CalendarError(f"{name} takes whole days, but its DURATION does not")
        # An event without an end, or with an end equal to its start, takes one day.
        return max(length, _DAY), False
    if not length:
        raise CalendarError(f"{name} has a time but no end; add an end")
    return length, exact


def _find_excluded(event: _Event) -> set[date]:
    """Find the cancelled occurrences: days, or times in UTC."""
    found: set[date] = set()
    for each in _list_values(event.raw, "EXDATE"):
        found.add(_to_utc(each, event.clock) if isinstance(each, datetime) and event.clock is not None else each)
    return found


def _list_occurrences(event: _Event) -> Iterator[tuple[date, timedelta | None]]:
    """Yield every start as local time of the event, with the occurrence's own duration if given."""
    yield event.begins, None
    for value in _list_values(event.raw, "RDATE"):
        begins, ends = value if isinstance(value, tuple) else (value, None)
        local_time = event.local_time(begins)
        if ends is None:
            yield local_time, None
            continue
        length = ends if isinstance(ends, timedelta) else _to_utc(ends, event.zone) - _to_utc(begins, event.zone)
        if event.clock is None or length <= timedelta():
            raise CalendarError(f"{_describe_event(event.raw)} has an RDATE with an invalid period")
        yield local_time, length
    rules = event.raw.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        for begins in _list_repetitions(event, rule):
            yield begins, None


def _list_repetitions(event: _Event, rule: Any) -> Iterator[date]:  # noqa: ANN401 - the library has no types for it
    text = _check_rule(event, rule)
    start = event.begins if isinstance(event.begins, datetime) else datetime.combine(event.begins, time())
    matched = False
    for begins in rrulestr(text, dtstart=start):
        matched = True
        if begins.date() > _LAST:
            break
        yield begins if event.clock is not None else begins.date()
    if not matched:
        raise CalendarError(f"{_describe_event(event.raw)} repeats on days that never exist: {text}")


def _check_rule(event: _Event, rule: Any) -> str:  # noqa: ANN401 - the library has no types for it
    """Return a rule as text, with UNTIL as local time of the event."""
    parts = {str(key).upper(): value if isinstance(value, list) else [value] for key, value in rule.items()}
    text = rule.to_ical().decode()
    fault = next(_list_rule_faults(parts), None)
    if fault is not None:
        raise CalendarError(f"{_describe_event(event.raw)} has a rule {fault}: RRULE:{text[:120]}")
    kept = [each for each in text.split(";") if not each.upper().startswith("UNTIL=")]
    for until in parts.get("UNTIL", []):
        last = event.local_time(until) if event.clock is not None or not isinstance(until, datetime) else until
        if not isinstance(last, datetime) or not isinstance(until, datetime):
            last = datetime.combine(last, time(23, 59, 59))
        kept.append(f"UNTIL={last.replace(tzinfo=None):%Y%m%dT%H%M%S}")
    return ";".join(kept)


def _list_rule_faults(parts: Mapping[str, list[Any]]) -> Iterator[str]:
    """Yield the violations of RFC 5545 in a rule, and repetitions within a day."""
    frequency = "".join(str(each).upper() for each in parts.get("FREQ", []))
    if not frequency:
        yield "without FREQ"
    if frequency not in _FREQUENCIES or any(len(parts.get(key, [])) > 1 for key in _TIMES):
        yield "that repeats within a day; events may repeat daily or less often"
    for key in sorted(set(parts) - _KNOWN):
        yield f"with the unknown part {key}"
    if "COUNT" in parts and "UNTIL" in parts:
        yield "with both COUNT and UNTIL"
    if "BYWEEKNO" in parts and frequency != "YEARLY":
        yield "with BYWEEKNO that does not repeat yearly"
    if frequency in {"DAILY", "WEEKLY"} and any(str(each)[:-2] for each in parts.get("BYDAY", [])):
        yield "with a numbered BYDAY that does not repeat monthly or yearly"
    yield from _list_number_faults(parts)


def _list_number_faults(parts: Mapping[str, list[Any]]) -> Iterator[str]:
    for key in ("INTERVAL", "COUNT"):
        if any(int(each) < 1 for each in parts.get(key, [])):
            yield f"with {key} below 1"
    for key, highest in _RANGES.items():
        if any(not 1 <= abs(int(each)) <= highest for each in parts.get(key, [])):
            yield f"with a {key} out of range"
    for key, allowed in _TIMES.items():
        if any(int(each) not in allowed for each in parts.get(key, [])):
            yield f"with a {key} out of range"


def _to_utc(when: date, zone: tzinfo) -> datetime:
    moment = when if isinstance(when, datetime) else datetime.combine(when, time())
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


def _property_text(raw: Any, name: str) -> str:  # noqa: ANN401 - the library has no types for it
    found = raw.get(name, "")
    return " ".join(str(found[0] if isinstance(found, list) and found else found).split())


def _event_uid(raw: Any) -> str:  # noqa: ANN401 - the library has no types for it
    return _property_text(raw, "UID")


def _event_summary(raw: Any) -> str:  # noqa: ANN401 - the library has no types for it
    return _property_text(raw, "SUMMARY")[:_LONGEST_NAME] or "an event"


def _describe_event(raw: Any) -> str:  # noqa: ANN401 - the library has no types for it
    """Describe an event for messages: summary, first day and UID."""
    facts = []
    begins = raw.get("DTSTART")
    if begins is not None and "DTSTART" not in {name for name, _ in raw.errors} and not isinstance(begins, list):
        facts.append(begins.to_ical().decode())
    facts += [f"UID {_event_uid(raw)[:60]}"] if _event_uid(raw) else []
    summary = _event_summary(raw)
    named = "an event" if summary == "an event" else f"the event {summary!r}"
    return f"{named} ({', '.join(facts)})" if facts else named


def _error_text(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _merge_days(days: list[tuple[date, date, str]]) -> dict[date, str]:
    found: dict[date, str] = {}
    free_from = _FIRST
    for first, last, what in sorted(days, key=lambda each: each[0]):
        day = max(first, free_from)
        while day <= last:
            found[day] = what
            day += _DAY
        free_from = max(free_from, day)
    return found


def _merge_hours(hours: list[Hours]) -> tuple[Hours, ...]:
    found: list[Hours] = []
    for begins, ends, what in sorted(hours, key=lambda each: each[0]):
        free_from = found[-1][1] if found else begins
        if ends > free_from:
            found.append((max(begins, free_from), ends, what))
    return tuple(found)
