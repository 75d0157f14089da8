"""What is said to be spared is what the metered usage of a CVM that was never stopped has more."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from orchestrator.billing.savings import SavingsRow, add_up, clip_periods
from orchestrator.billing.stopped_period import Power, Started, WentDown, find_stopped_periods
from orchestrator.cvm import CvmRef
from orchestrator.simulator import actions
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.usage import meter_usage
from orchestrator.simulator.world import World

HOUR = 3600.0
CENT = Decimal("0.01")
END = 48 * HOUR


def sums(world: World, cvm: SimulatedCvm, kind: str, since: float = 0.0) -> Decimal:
    return sum(
        (each.cost for each in meter_usage(world, cvm, until=END) if each.usage_type == kind and each.begin >= since),
        Decimal(0),
    )


def saved(world: World, cvm: SimulatedCvm, story: list[tuple[str, float]]) -> SavingsRow:
    """What the logs of runs that did this would say."""

    def at(seconds: float) -> datetime:
        return world.calendar_time(seconds)

    ref, rates = CvmRef(cvm.hashid, cvm.uuid, cvm.name), (cvm.compute_rate, cvm.disk_rate)
    events: list[Power] = [
        WentDown("cloud", ref, at(moment), at(moment), "run", "nightly", *rates, bool(cvm.instance_type.gpus))
        if action == "stop"
        else Started("cloud", ref, at(moment))
        for action, moment in story
    ]
    found = clip_periods(find_stopped_periods(events, at(END)), at(0) - timedelta(days=1), at(END))
    return add_up(found, [], "playbook", at(0) - timedelta(days=1))[1]


@pytest.mark.parametrize(
    "story",
    [
        [("stop", 2.3 * HOUR)],
        [("stop", 2.3 * HOUR), ("start", 12.7 * HOUR)],
        [("stop", 1 * HOUR), ("start", 9.25 * HOUR), ("stop", 20.01 * HOUR), ("start", 31 * HOUR + 17)],
        [("stop", 5 * HOUR), ("start", 5 * HOUR + 30), ("stop", 6 * HOUR)],
    ],
)
@pytest.mark.parametrize("kind", ["tdx.small", "tdx.large", "h200.small"])
def test_compute_not_spent_less_gpu_minimums_is_the_difference_to_a_twin_to_the_cent(
    kind: str, story: list[tuple[str, float]]
) -> None:
    world = World.generate(settings=parse_settings({"fleet": {"cvms": 0}}))
    cvm, twin = world.add_cvm("api-1", instance_type=kind), world.add_cvm("api-2", instance_type=kind)
    for action, moment in story:
        getattr(actions, f"begin_{action}")(world, cvm, moment)
    row = saved(world, cvm, [("start", 0.0), *story])
    metered_less = sums(world, twin, "compute") - sums(world, cvm, "compute")
    assert row.compute.known_total is not None
    if kind == "h200.small" and story[-1][0] == "start":
        # The minimum of the last start reaches beyond the end: what the twin will be charged for that time is to come.
        ahead = max(Decimal(0), Decimal(story[-1][1] + 24 * HOUR - END) / Decimal(HOUR))
        metered_less += ahead * cvm.compute_rate
    assert abs(row.compute.known_total - row.minimums.usd - metered_less) <= CENT
    assert sums(world, twin, "storage") == sums(world, cvm, "storage")


def test_storage_that_went_on_is_what_was_metered_in_that_time_to_the_cent() -> None:
    world = World.generate(settings=parse_settings({"fleet": {"cvms": 0}}))
    cvm = world.add_cvm("api-1", instance_type="h200.16xlarge")
    actions.begin_stop(world, cvm, 8 * HOUR)
    row = saved(world, cvm, [("stop", 8 * HOUR)])
    assert row.storage.known_total is not None
    assert abs(row.storage.known_total - sums(world, cvm, "storage", 8 * HOUR)) <= CENT
    assert row.storage.known_total > 2
