"""Resolve a local time of a zone: at a clock change, a local time has no moment or two moments in UTC."""

from calendar import isleap
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_YEAR = timedelta(days=365)
_DAYS_OF_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class Gap:
    """Skipped local times, because clocks were set forward.

    Attributes:
        begins: the first skipped time.
        ends: the first time after the gap.
    """

    begins: datetime
    ends: datetime

    def covers_day(self, day: date) -> bool:
        """Return True if this whole day is skipped."""
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - what a wall clock shows
        return self.begins <= midnight and midnight + _DAY <= self.ends


@dataclass(frozen=True, slots=True)
class ResolvedTime:
    """The moments of a local time.

    Attributes:
        moment: in UTC; the first of two, or the first moment after a gap.
        gap: the gap around the local time; None for an existing time.
        second: the later of two moments; None for a single moment.
    """

    moment: datetime
    gap: Gap | None = None
    second: datetime | None = None


def resolve_local_time(local: datetime, zone: ZoneInfo) -> ResolvedTime:
    """Find the moments of a local time (without a zone) in this zone."""
    before, after = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if before == after:
        return ResolvedTime(before)
    if before < after:
        return ResolvedTime(before, second=after)
    # In a gap the two offsets lead to either side of the change.
    change = _change_between(zone, after, before)
    begins = change.replace(tzinfo=None) + (after.astimezone(zone).utcoffset() or timedelta())
    return ResolvedTime(change, gap=Gap(begins, change.astimezone(zone).replace(tzinfo=None)))


def next_change(zone: ZoneInfo, moment: datetime) -> datetime:
    """Find the next clock change of a zone after this moment; without a change for a year, a moment a year later."""
    changes = (*_list_changes(zone, moment.year), *_list_changes(zone, moment.year + 1))
    return next((change for change in changes if change > moment), moment + _YEAR)


@lru_cache(maxsize=256)
def _list_changes(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """Find all clock changes in a year of UTC.

    No zone has set its clocks back and forth within one day.
    """
    days = [datetime(year, 1, 1, tzinfo=UTC) + number * _DAY for number in range(_DAYS_OF_A_YEAR + isleap(year) + 1)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    steps = zip(pairwise(days), pairwise(offsets), strict=True)
    return tuple(_change_between(zone, *around) for around, (before, after) in steps if before != after)


def _change_between(zone: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """Find the moment of a clock change between two moments, in UTC."""
    offset = early.astimezone(zone).utcoffset()
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)
