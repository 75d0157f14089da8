"""Which usage records a stop triggered. Pure.

What the vendor's documents leave open is not taken for granted: the words of `event_type`, whether a period is of
moments or of days, how the clocks of the two sides differ. The rule, as the docs have it:

- A record can count if it is of the CVM, its usage type is compute, and it lies in the stop's window: from when the
  stop was sent until some minutes after the CVM was seen down. It lies there by the end of its period, or, where that
  is not a moment, by when it was made.
- It does not count if its usage began after the CVM was down, which is usage of a later start.
- If its event type speaks of a stop, it counts; if it speaks of hours, starts or minimums, it does not.
- If its event type says nothing of the kind, it counts if no record that speaks of a stop is there, it was not made
  before the window, it does not end on the full hour as ordinary metering does, and it is the last of its kind.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from orchestrator.billing.stop import Stop
from orchestrator.reply import UsageRecord

TOLERANCE = timedelta(seconds=2)
"""So much earlier than its request a charge may be dated: fractions are cut off, and clocks differ a little."""

_TO_THE_MINUTE = timedelta(minutes=1)
"""The same where it is dated to the minute."""

_SECOND = timedelta(seconds=1)
_ROUNDED = Decimal("1.5")
"""By so many minutes a period may differ from the minutes it is for, where it is dated to the minute."""
_ROUNDED_TO_THE_HOUR = Decimal("0.02")
"""The same for one of full hours: where it differs by more, it is a calendar's hour or day that the minutes lie in."""

_STOPS = re.compile(r"stop|shut.?down|power.?off|halt|terminat", re.IGNORECASE)
_OTHERWISE = re.compile(
    r"hour|dai|day|week|month|period|interval|cycle|schedule|start|boot|creat|resum|launch|minimum|upfront|renew",
    re.IGNORECASE,
)

_COMPUTE = "compute"
_NEVER = datetime.max.replace(tzinfo=UTC)


def compute_of(usage: Sequence[UsageRecord]) -> list[UsageRecord]:
    """The records of compute, each without its period if that is not one of moments."""
    return [each for each in map(_exact, usage) if each.usage_type == _COMPUTE]


def charges_of(stop: Stop, compute: Sequence[UsageRecord]) -> list[UsageRecord]:
    """The records that the stop triggered."""
    since, until = stop.window
    here = [
        each
        for each in compute
        if _lies_in(each, since, until) and not (each.begin is not None and each.begin > (stop.down or until))
    ]
    told = [each for each in here if speaks_of_a_stop(each)]
    if told:
        # A record without a period does not tell which of two stops it is of: the first is this one's.
        first = min(map(when, told))
        return [each for each in told if each.begin is not None or when(each) - first <= TOLERANCE]
    silent = [each for each in here if not _speaks_of_another(each) and not _on_the_hour(each)]
    last = max(map(when, silent), default=None)
    return [each for each in silent if when(each) == last]


def speaks_of_a_stop(record: UsageRecord) -> bool:
    """Whether its event type speaks of a stop, and of nothing else."""
    return bool(_STOPS.search(record.event_type)) and not _OTHERWISE.search(record.event_type)


def _speaks_of_another(record: UsageRecord) -> bool:
    """Whether its event type speaks of anything but a stop."""
    return bool(_OTHERWISE.search(record.event_type)) and not _STOPS.search(record.event_type)


def _lies_in(record: UsageRecord, since: datetime, until: datetime) -> bool:
    """Whether a record may be of this window."""
    told = speaks_of_a_stop(record)
    made = [each for each in (record.end, record.at) if each is not None]
    ends_here = told and record.end is not None and record.end >= since - TOLERANCE
    if not made or not (ends_here or all(_not_before(each, since) for each in made)):
        return False
    # A period that a stop rounded up may run beyond the window; a record that was made late may, too.
    return (min(made) if told else made[0]) <= until


def _not_before(moment: datetime, since: datetime) -> bool:
    to_the_minute = not moment.second and not moment.microsecond
    return moment >= since - (_TO_THE_MINUTE if to_the_minute else TOLERANCE)


def when(record: UsageRecord) -> datetime:
    """The moment that it is of, as far as it says."""
    return record.end or record.at or _NEVER


def known_by(record: UsageRecord) -> datetime:
    """The moment by which it was there, as far as it says: one paid up front is made before its period ends."""
    return min(when(record), record.at or _NEVER)


def _on_the_hour(record: UsageRecord) -> bool:
    """Whether it ends with an hour, or a second before."""
    end = when(record)
    return (end.minute, end.second) in {(0, 0), (59, 59)}


def _exact(record: UsageRecord) -> UsageRecord:
    """The record, without its period if that is not one of moments: a whole day or hour that its minutes lie in."""
    if record.begin is None or record.end is None or record.minutes is None:
        return record
    lasted = Decimal((record.end - record.begin) // _SECOND) / 60
    full_hours = all((each.minute, each.second) == (0, 0) for each in (record.begin, record.end))
    if abs(lasted - record.minutes) <= (_ROUNDED_TO_THE_HOUR if full_hours else _ROUNDED):
        return record
    return replace(record, begin=None, end=None)
