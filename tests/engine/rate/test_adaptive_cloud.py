"""A run whose rate finds itself, from its first request to its last, on virtual time."""

from typing import TypeVar

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.rate.adaptive import START, AdaptiveRate, KnownRate
from orchestrator.engine.rate.adaptive_cloud import AdaptiveCloud
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet
from tests.engine.servers import TokenBucket

pytestmark = pytest.mark.anyio

_T = TypeVar("_T")


class LimitedCloud(FakeCloud):
    """A fake cloud that turns away what its bucket has no token for."""

    def __init__(self, count: int, *, limit: float, burst: int = 10) -> None:
        super().__init__(count, latency=0.005)
        self.bucket = TokenBucket(limit, burst)
        self.refused: list[float] = []

    def _limited(self) -> Reply[_T] | None:
        now = anyio.current_time()
        if self.bucket.wait(now) <= 0:
            return None
        self.refused.append(now)
        return Reply(http_status=429, retry_after=1.0, problem="too many requests", latency=0.001)

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        return self._limited() or await super().act(action, ref)

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        return self._limited() or await super().list_page(page, page_size)


def adaptive(cloud: FakeCloud, *, known: KnownRate | None = None) -> tuple[Fleet, AdaptiveRate]:
    """A fleet whose rate finds itself."""
    finder = AdaptiveRate(3, now=anyio.current_time(), known=known)

    def learn(fleet: Fleet) -> AdaptiveCloud:
        return AdaptiveCloud(cloud, finder, fleet.gate.budget, fleet.clock)

    fleet = Fleet(cloud, rate=START, burst=3, max_in_flight=50, per_teepod=50, wrap=learn)
    fleet.gate.budget.rate = finder.rate
    return fleet, finder


async def test_a_run_at_auto_stops_everything_at_nearly_the_limit_of_the_server() -> None:
    cloud = LimitedCloud(1500, limit=60)
    fleet, finder = adaptive(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 1500}
    stops = [at for at, kind, _ in cloud.requests if kind == "stop"]
    assert stops[-1] - stops[0] <= 1500 / 60 * 1.25
    assert len(cloud.refused) <= 0.02 * 1500
    assert finder.known_rate.requests_per_second == pytest.approx(60, rel=0.1)


async def test_a_429_holds_the_whole_run_for_as_long_as_it_asks() -> None:
    cloud = LimitedCloud(300, limit=20)
    fleet, _ = adaptive(cloud)
    await fleet.go()
    first = cloud.refused[0]
    assert not [at for at, _, _ in cloud.requests if first + 0.01 < at < first + 1]


async def test_the_pages_of_the_list_are_heard_too() -> None:
    cloud = LimitedCloud(500, limit=1000, burst=1)
    fleet, finder = adaptive(cloud)
    learning = AdaptiveCloud(cloud, finder, fleet.gate.budget, fleet.clock)
    inventory = await InventoryReader(learning, fleet.gate, fleet.context.rng).read_all()
    assert len(inventory.cvms) == 500
    assert fleet.gate.budget.rate == finder.send_rate > START


async def test_a_rate_that_rises_while_requests_wait_holds_for_those_that_wait() -> None:
    cloud = LimitedCloud(600, limit=1000, burst=50)
    fleet, _ = adaptive(cloud)
    await fleet.go()
    stops = [at for at, kind, _ in cloud.requests if kind == "stop"]
    assert stops[-1] <= 12, "at the rate it began with it would take two minutes"


async def test_a_fixed_rate_stays_what_it_is() -> None:
    cloud = LimitedCloud(200, limit=20)
    fleet = Fleet(cloud, rate=50)
    await fleet.go()
    assert cloud.refused
    assert fleet.gate.budget.rate == 50
