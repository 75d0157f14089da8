"""What a wall clock shows, and the moment that this is: twice a year, in many zones, there is none or there are two."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_DAYS_AHEAD = 366


@dataclass(frozen=True, slots=True)
class Gap:
    """Wall times that never were, because clocks were put forward.

    Attributes:
        begins: the first time that was left out.
        ends: what clocks showed instead.
    """

    begins: datetime
    ends: datetime

    def covers_day(self, day: date) -> bool:
        """Whether this whole day was left out."""
        midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - what a wall clock shows
        return self.begins <= midnight and midnight + _DAY <= self.ends


@dataclass(frozen=True, slots=True)
class Place:
    """Where a wall time stands in time.

    Attributes:
        moment: in UTC; of two the first, and of none the first after the gap.
        gap: that the wall time is in; None where there was such a time.
        second: the later of two moments; None where there is one.
    """

    moment: datetime
    gap: Gap | None = None
    second: datetime | None = None


def locate_wall_time(wall: datetime, zone: ZoneInfo) -> Place:
    """The moment at which clocks in this zone show this time (without a zone of its own)."""
    before, after = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if before == after:
        return Place(before)
    if before < after:
        return Place(before, second=after)
    # In a gap the two offsets lead to either side of the change.
    change = _change_between(zone, after, before)
    begins = change.replace(tzinfo=None) + (after.astimezone(zone).utcoffset() or timedelta())
    return Place(change, gap=Gap(begins, change.astimezone(zone).replace(tzinfo=None)))


def next_change(zone: ZoneInfo, moment: datetime) -> datetime:
    """The first moment after this one from which on clocks there are set otherwise; at the most a year later.

    No zone has put its clocks back and forth within one day.
    """
    offset = moment.astimezone(zone).utcoffset()
    for _ in range(_DAYS_AHEAD):
        later = moment + _DAY
        if later.astimezone(zone).utcoffset() != offset:
            return _change_between(zone, moment, later)
        moment = later
    return moment


def _change_between(zone: ZoneInfo, early: datetime, late: datetime) -> datetime:
    """The moment of a change of the clocks, in UTC."""
    offset = early.astimezone(zone).utcoffset()
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)
