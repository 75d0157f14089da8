"""Metered usage: the effect of stops on the bill."""

from datetime import timedelta
from decimal import Decimal

import anyio
import pytest

from orchestrator.simulator import actions
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.usage import MeteredUsage, meter_usage
from orchestrator.simulator.world import World
from tests.simulator.cloud import cloud

HOUR = 3600.0


def _world(**sections: object) -> World:
    return World.generate(settings=parse_settings({"fleet": {"cvms": 0}, **sections}))


def _compute(world: World, cvm: SimulatedCvm, until: float) -> list[MeteredUsage]:
    return [usage for usage in meter_usage(world, cvm, until=until) if usage.usage_type == "compute"]


def test_a_stop_closes_compute_usage_to_the_hundredth_of_a_minute() -> None:
    world = _world()
    cvm = world.add_cvm("api-1")
    actions.begin_stop(world, cvm, HOUR + 100)
    told = [(usage.event_type, usage.minutes, usage.at) for usage in _compute(world, cvm, HOUR + 100)]
    assert told == [("hourly", Decimal("60.00"), HOUR), ("stop", Decimal("1.67"), HOUR + 100)]
    assert _compute(world, cvm, HOUR + 100)[1].cost == Decimal("0.058") * Decimal("1.67") / 60 // Decimal(
        "1e-6"
    ) * Decimal("1e-6")


def test_less_than_a_minute_is_not_charged() -> None:
    world = _world()
    cvm = world.add_cvm("api-1")
    actions.begin_stop(world, cvm, 59)
    assert _compute(world, cvm, 100) == []


def test_compute_ends_with_the_stop_and_storage_goes_on() -> None:
    world = _world()
    cvm = world.add_cvm("api-1")
    actions.begin_stop(world, cvm, HOUR / 2)
    usage = list(meter_usage(world, cvm, until=5 * HOUR))
    assert sum(each.minutes for each in usage if each.usage_type == "compute") == 30
    storage = [each for each in usage if each.usage_type == "storage"]
    assert sum(each.minutes for each in storage) == 300
    assert sum(each.cost for each in storage) == Decimal("0.000139") * 20 * 5


def test_storage_ends_with_the_deletion() -> None:
    world = _world()
    cvm = world.add_cvm("api-1")
    world.delete_cvm(cvm, 90 * 60)
    assert sum(each.minutes for each in meter_usage(world, cvm, until=5 * HOUR) if each.usage_type == "storage") == 90


def test_a_gpu_is_charged_a_day_up_front_at_each_start() -> None:
    world = _world(timing={"stop_seconds": [4, 4], "start_seconds": [6, 6]})
    cvm = world.add_cvm("train-1", instance_type="h200.small")
    actions.begin_stop(world, cvm, HOUR)
    actions.begin_start(world, cvm, 2 * HOUR)
    told = [(usage.event_type, usage.cost) for usage in _compute(world, cvm, 26 * HOUR)]
    assert told == [("gpu_minimum", Decimal(84)), ("gpu_minimum", Decimal(84))]
    assert [usage.event_type for usage in _compute(world, cvm, 27 * HOUR)][2:] == ["hourly"]


def test_in_a_suspended_workspace_a_stop_charges_nothing() -> None:
    world = _world(workspace={"suspended": True})
    cvm = world.add_cvm("api-1")
    actions.begin_stop(world, cvm, HOUR / 2)
    assert _compute(world, cvm, HOUR) == []


@pytest.mark.parametrize("microsecond", [0, 1, 236_882, 999_999])
def test_usage_records_end_on_calendar_hours(microsecond: int) -> None:
    world = _world()
    world.epoch = world.epoch.replace(minute=7, second=37, microsecond=microsecond)
    cvm = world.add_cvm("api-1")
    ends = [world.calendar_time(usage.at) for usage in _compute(world, cvm, 10 * HOUR)]
    assert len(ends) == 10
    assert all(
        abs(end - end.replace(minute=0, second=0, microsecond=0)) < timedelta(milliseconds=1) for end in ends[1:]
    )


@pytest.mark.anyio
async def test_usage_is_read_by_pages_and_by_dates() -> None:
    async with cloud(timing={"stop_seconds": [4, 4]}) as sky:
        cvm = sky.world.find_by_name("kms-1")
        path = f"/apps/{cvm.app.app_id}/usage"
        await anyio.sleep(30 * 60)
        await sky.post(f"/cvms/{cvm.hashid}/stop")
        recent = await sky.get(path, start_date=sky.world.calendar_time(60).isoformat())
        assert [(each["event_type"], each["usage_type"], each["duration_minutes"]) for each in recent["usage"]] == [
            ("stop", "compute", 30.0)
        ]
        assert recent["usage"][0]["instance_id"] == cvm.uuid
        assert recent["total_cost"] == pytest.approx(float(cvm.compute_rate) / 2)
        whole = await sky.get(path)
        pages = [await sky.get(path, limit=20, offset=offset) for offset in (0, 20, 40, 60)]
        assert [page["total"] for page in pages] == [20, 20, 9, 0]
        assert [each for page in pages for each in page["usage"]] == whole["usage"]
        wrong = await sky.http.get(path, params={"start_date": "2026-02-01", "end_date": "2026-01-01"})
        assert wrong.status_code == 400


@pytest.mark.anyio
async def test_the_total_can_count_the_window_and_records_can_be_late() -> None:
    async with cloud(usage={"total": "window", "usage_delay": 600}) as sky:
        cvm = sky.world.find_by_name("kms-1")
        path = f"/apps/{cvm.app.app_id}/usage"
        await anyio.sleep(30 * 60)
        await sky.post(f"/cvms/{cvm.hashid}/stop")
        before = await sky.get(path, limit=1)
        await anyio.sleep(600)
        after = await sky.get(path, limit=1)
        assert (len(after["usage"]), after["total"]) == (1, before["total"] + 1)
