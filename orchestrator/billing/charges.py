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
"""A charge may be dated this much before its request: fractions are cut off, and clocks differ a little."""

_TO_THE_MINUTE = timedelta(minutes=1)
"""The same for a charge dated to the minute."""

_SECOND = timedelta(seconds=1)
_ROUNDED = Decimal("1.5")
"""Minutes by which a period dated to the minute may differ from its own minutes."""
_ROUNDED_TO_THE_HOUR = Decimal("0.02")
"""The same for full hours: with a larger difference, the period is the calendar hour or day around the minutes."""

_STOPS = re.compile(r"stop|shut.?down|power.?off|halt|terminat", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"hour|dai|day|week|month|period|interval|cycle|schedule|start|boot|creat|resum|launch|minimum|upfront|renew",
    re.IGNORECASE,
)

_COMPUTE = "compute"
_NEVER = datetime.max.replace(tzinfo=UTC)


def compute_of(usage: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Return the compute records, without periods that are not moments."""
    return [each for each in map(_drop_rounded_period, usage) if each.usage_type == _COMPUTE]


def charges_of(stop: Stop, compute: Sequence[UsageRecord]) -> list[UsageRecord]:
    """Return the records triggered by the stop."""
    since, until = stop.search_window
    here = [
        each
        for each in compute
        if _lies_in(each, since, until) and not (each.begin is not None and each.begin > (stop.down or until))
    ]
    about_stops = [each for each in here if speaks_of_a_stop(each)]
    if about_stops:
        # A record without a period may belong to either of two stops: the first record belongs to this stop.
        first = min(map(moment_of, about_stops))
        return [each for each in about_stops if each.begin is not None or moment_of(each) - first <= TOLERANCE]
    silent = [each for each in here if not _speaks_of_another(each) and not _on_the_hour(each)]
    last = max(map(moment_of, silent), default=None)
    return [each for each in silent if moment_of(each) == last]


def speaks_of_a_stop(record: UsageRecord) -> bool:
    """Return True if the event type names a stop and nothing else."""
    return bool(_STOPS.search(record.event_type)) and not _OTHERWISE.search(record.event_type)


def _speaks_of_another(record: UsageRecord) -> bool:
    """Return True if the event type names anything except a stop."""
    return bool(_OTHERWISE.search(record.event_type)) and not _STOPS.search(record.event_type)


def _lies_in(record: UsageRecord, since: datetime, until: datetime) -> bool:
    """Return True if a record may belong to this window."""
    names_stop = speaks_of_a_stop(record)
    made = [each for each in (record.end, record.at) if each is not None]
    ends_here = names_stop and record.end is not None and record.end >= since - TOLERANCE
    if not made or not (ends_here or all(_not_before(each, since) for each in made)):
        return False
    # A period rounded up by a stop may end after the window, and so may a late record.
    return (min(made) if names_stop else made[0]) <= until


def _not_before(moment: datetime, since: datetime) -> bool:
    to_the_minute = not moment.second and not moment.microsecond
    return moment >= since - (_TO_THE_MINUTE if to_the_minute else TOLERANCE)


def moment_of(record: UsageRecord) -> datetime:
    """Return the moment of a record, as far as known."""
    return record.end or record.at or _NEVER


def known_by(record: UsageRecord) -> datetime:
    """Return the time by which a record existed: a record paid up front is made before its period ends."""
    return min(moment_of(record), record.at or _NEVER)


def _on_the_hour(record: UsageRecord) -> bool:
    """Return True if a record ends with an hour, or a second before."""
    end = moment_of(record)
    return (end.minute, end.second) in {(0, 0), (59, 59)}


def _drop_rounded_period(record: UsageRecord) -> UsageRecord:
    """Return the record, without a period that is only the day or hour around its minutes."""
    if record.begin is None or record.end is None or record.minutes is None:
        return record
    lasted = Decimal((record.end - record.begin) // _SECOND) / 60
    full_hours = all((each.minute, each.second) == (0, 0) for each in (record.begin, record.end))
    if abs(lasted - record.minutes) <= (_ROUNDED_TO_THE_HOUR if full_hours else _ROUNDED):
        return record
    return replace(record, begin=None, end=None)
