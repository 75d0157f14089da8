"""A year of firings in zones with and without daylight saving, as the service carries them out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from orchestrator.moment import timestamp
from tests.service.house import House

pytestmark = pytest.mark.anyio
START, END = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]


def nightly(zone: ZoneInfo) -> list[datetime]:
    """02:30 of every day there, once; where clocks skip it, the first moment after the gap."""
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


@pytest.mark.parametrize("name", ZONES)
async def test_a_year_of_nights_each_fired_once_at_its_moment(house: Callable[..., House], name: str) -> None:
    home = house(epoch=START, look_every=3600)
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
@pytest.mark.parametrize("name", ZONES)
async def test_a_year_of_every_other_hour_with_elapsed_time_where_clocks_change(
    house: Callable[..., House], name: str
) -> None:
    home = house(epoch=START, look_every=3600)
    home.write("often", cron="15 * * * *", timezone=name)
    async with home.process():
        await home.until(END)
    minutes = {
        datetime.fromisoformat(run.planned).astimezone(ZoneInfo(name)).minute for run in home.world.runs.values()
    }
    assert minutes == {15}
    assert len(home.world.runs) in {8760, 8761, 8759}
