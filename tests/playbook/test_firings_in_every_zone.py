"""Schedules of every hour, compared with a clock read once a minute, around every clock change of every zone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from orchestrator.playbook.local_time import next_change
from tests.playbook.times import fired, timetable, utc

ODD = [
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Caracas",
    "America/New_York",
    "America/Nuuk",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Europe/Berlin",
    "Pacific/Apia",
]
ZONES = sorted(available_timezones() - {"localtime"})  # `localtime` is a machine's own link, not a zone
MINUTES = {"30 * * * *": {30}, "*/20 * * * *": {0, 20, 40}, "5,59 0-23 * * *": {5, 59}}
MINUTE, AROUND = timedelta(minutes=1), timedelta(hours=3)


def assert_fires_whenever_clocks_show_it(zone: str, first: int, last: int) -> None:
    clocks, change, end = ZoneInfo(zone), utc(first - 1, 12, 31), utc(last, 12, 31)
    while (change := next_change(clocks, change)) < end:
        start = change.replace(second=0, microsecond=0) - AROUND
        ticks = [start + number * MINUTE for number in range(2 * AROUND // MINUTE)]
        shown = [(tick, tick.astimezone(clocks).minute) for tick in ticks]
        for cron, minutes in MINUTES.items():
            found = [each.planned for each in fired(timetable(cron, zone), start, ticks[-1] + MINUTE)]
            assert found == [tick for tick, minute in shown if minute in minutes], (zone, cron, change)


@pytest.mark.parametrize("zone", ODD)
def test_every_hour_fires_around_each_change_of_odd_zones_from_2007_to_2027(zone: str) -> None:
    assert_fires_whenever_clocks_show_it(zone, 2007, 2027)


@pytest.mark.soak
@pytest.mark.parametrize("zone", ZONES)
def test_every_hour_fires_around_each_change_of_every_zone_from_2000_to_2040(zone: str) -> None:
    assert_fires_whenever_clocks_show_it(zone, 2000, 2040)


@pytest.mark.parametrize("zone", ODD[:4])
def test_every_clock_change_is_found(zone: str) -> None:
    """Compared with the offset of every sixth hour, from 2000 to 2040."""
    clocks = ZoneInfo(zone)
    hours = [utc(2000, 1, 1) + timedelta(hours=number) for number in range(0, 40 * 366 * 24, 6)]
    offsets = [hour.astimezone(clocks).utcoffset() for hour in hours]
    changed = sum(one != other for one, other in pairwise(offsets))
    found, moment = 0, datetime(2000, 1, 1, tzinfo=UTC)
    while (moment := next_change(clocks, moment)) <= hours[-1]:
        found += moment.astimezone(clocks).utcoffset() != (moment - MINUTE).astimezone(clocks).utcoffset()
    assert found == changed
