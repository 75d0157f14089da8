"""Find the usage records triggered by a stop. Pure.

The vendor's documents leave some facts open, so this module assumes nothing about these facts: the words of
`event_type`, periods of moments or of days, the difference between the clocks. The rule, as in the docs:

- A record can count if it belongs to the CVM, its usage type is compute, and it lies in the stop's window: from the
  sending of the stop until some minutes after the CVM was seen down. The end of the record's period decides, or its
  creation time if the period has no moments.
- A record does not count if its usage began after the CVM was down: such usage belongs to a later start.
- A record whose event type names a stop counts; a record whose event type names hours, starts or minimums does not.
- A record with another event type counts if no record names a stop, and if the record was not made before the window,
  does not end on the full hour like ordinary metering, and is the last of its kind.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.billing.stop import Stop
from orchestrator.reply import UsageRecord

TOLERANCE = timedelta(seconds=2)
"""Longest time of a charge before its request: fractions are cut off, and clocks differ a little."""

_MINUTE_TOLERANCE = timedelta(minutes=1)
"""The same for a charge with a time to the minute."""

_SECOND = timedelta(seconds=1)
_MINUTES_OFF = Decimal("1.5")
"""Largest difference between a record's period and its `minutes`, for a period to the minute; in minutes."""
_MINUTES_OFF_FULL_HOURS = Decimal("0.02")
"""The same for a period of full hours. Beyond this, the period is only the calendar hour or day of the usage."""

# Words of an event type. The set of event types is open.
_NAMES_STOP = re.compile(r"stop|shut.?down|power.?off|halt|terminat", re.IGNORECASE)
_NAMES_ANOTHER_EVENT = re.compile(
    r"hour|dai|day|week|month|period|interval|cycle|schedule|start|boot|creat|resum|launch|minimum|upfront|renew",
    re.IGNORECASE,
)

_COMPUTE = "compute"
_NEVER = datetime.max.replace(tzinfo=UTC)


def select_compute(usage: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Return the compute records. A period that is only the calendar hour or day of the usage is dropped."""
    return [each for each in map(_drop_rounded_period, usage) if each.usage_type == _COMPUTE]


def find_charges(stop: Stop, compute: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Find the records triggered by a stop.

    Args:
        stop: the stop.
        compute: the records of the CVM from `select_compute`.
    """
    since, until = stop.search_window
    down = stop.down or until
    candidates = [
        record
        for record in compute
        if _is_in_window(record, since, until) and (record.begin is None or record.begin <= down)
    ]
    naming = [record for record in candidates if names_a_stop(record)]
    if naming:
        # A record without a period may belong to either of two stops: the first record belongs to this stop.
        first = min(map(find_record_time, naming))
        return [
            record for record in naming if record.begin is not None or find_record_time(record) - first <= TOLERANCE
        ]
    unclear = [record for record in candidates if not _names_another_event(record) and not _ends_on_the_hour(record)]
    last = max(map(find_record_time, unclear), default=None)
    return [record for record in unclear if find_record_time(record) == last]


def names_a_stop(record: UsageRecord) -> bool:
    """Check for an event type with words of a stop, and no other words."""
    return bool(_NAMES_STOP.search(record.event_type)) and not _NAMES_ANOTHER_EVENT.search(record.event_type)


def _names_another_event(record: UsageRecord) -> bool:
    """Check for an event type with words of another event, and no words of a stop."""
    return bool(_NAMES_ANOTHER_EVENT.search(record.event_type)) and not _NAMES_STOP.search(record.event_type)


def _is_in_window(record: UsageRecord, since: datetime, until: datetime) -> bool:
    """Check the times of a record against the search window of a stop."""
    is_named = names_a_stop(record)
    times = [time for time in (record.end, record.at) if time is not None]
    if not times:
        return False
    # Of a record that names a stop, the end decides: the record itself may be older, such as one paid up front.
    has_end_inside = is_named and record.end is not None and record.end >= since - TOLERANCE
    if not has_end_inside and not all(_is_not_before(time, since) for time in times):
        return False
    # A period rounded up by a stop may end after the window, and so may a late record.
    return (min(times) if is_named else times[0]) <= until


def _is_not_before(moment: datetime, since: datetime) -> bool:
    is_full_minute = not moment.second and not moment.microsecond
    return moment >= since - (_MINUTE_TOLERANCE if is_full_minute else TOLERANCE)


def find_record_time(record: UsageRecord) -> datetime:
    """Return the end of a record's usage, otherwise the record's creation time; the last possible time without both."""
    return record.end or record.at or _NEVER


def find_creation_time(record: UsageRecord) -> datetime:
    """Return the creation time of a record, at the latest: a record paid up front is made before its period ends."""
    return min(find_record_time(record), record.at or _NEVER)


def _ends_on_the_hour(record: UsageRecord) -> bool:
    """Check for an end on the full hour, or a second before."""
    end = find_record_time(record)
    return (end.minute, end.second) in {(0, 0), (59, 59)}


def _drop_rounded_period(record: UsageRecord) -> UsageRecord:
    """Drop the period of a record if the period is only the calendar hour or day around the minutes of usage."""
    if record.begin is None or record.end is None or record.minutes is None:
        return record
    period_minutes = Decimal((record.end - record.begin) // _SECOND) / 60
    has_full_hours = all((edge.minute, edge.second) == (0, 0) for edge in (record.begin, record.end))
    allowed = _MINUTES_OFF_FULL_HOURS if has_full_hours else _MINUTES_OFF
    is_exact = abs(period_minutes - record.minutes) <= allowed
    return record if is_exact else replace(record, begin=None, end=None)
