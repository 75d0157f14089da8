"""A year of firings by the service, in zones with and without daylight saving."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from orchestrator.times import timestamp
from tests.service.host import Host

pytestmark = pytest.mark.anyio
START, END = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata"]
MORE = ["UTC", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "Asia/Gaza"]


def nightly(zone: ZoneInfo) -> list[datetime]:
    """02:30 local time of every day, once; after a gap, the first moment."""
    found = []
    day = START.astimezone(zone).replace(hour=0, minute=0, tzinfo=None) - timedelta(days=1)
    while day < END.replace(tzinfo=None) + timedelta(days=2):
        wall = day.replace(hour=2, minute=30)
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != wall:
            while moment.astimezone(zone).replace(tzinfo=None) > wall:
                moment -= timedelta(minutes=1)
            moment += timedelta(minutes=1)
        if START < moment < END:
            found.append(moment)
        day += timedelta(days=1)
    return found


@pytest.mark.parametrize("name", [*ZONES, *(pytest.param(name, marks=pytest.mark.soak) for name in MORE)])
async def test_a_year_of_nights_each_fired_once_at_its_moment(host: Callable[..., Host], name: str) -> None:
    home = host(epoch=START, scan_interval=24 * 3600)
    home.write("nightly", cron="30 2 * * *", timezone=name)
    async with home.process():
        await home.until(END)
    runs = list(home.world.runs.values())
    assert [run.planned for run in runs] == [timestamp(each) for each in nightly(ZoneInfo(name))]
    assert len(runs) == 365
    assert all(
        timestamp(run.begun_at) < timestamp(datetime.fromisoformat(run.planned) + timedelta(seconds=2)) for run in runs
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ZONES)
async def test_each_hour_of_a_year_fires_once_whatever_clocks_do(host: Callable[..., Host], name: str) -> None:
    home = host(epoch=START, scan_interval=24 * 3600)
    home.write("often", cron="15 * * * *", timezone=name)
    async with home.process():
        await home.until(END)
    planned = [datetime.fromisoformat(run.planned) for run in home.world.runs.values()]
    assert {each.astimezone(ZoneInfo(name)).minute for each in planned} == {15}
    assert [later - each for each, later in pairwise(planned)] == [timedelta(hours=1)] * 8759
