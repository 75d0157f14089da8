"""Leases: the holder's own deadline, and takes by several processes."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.postgres.lease import Fence, Lease, Release, let_go_run, take_run
from orchestrator.postgres.link import Link
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Holder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


class Clock:
    """A clock set by the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_lease_counts_from_before_the_query_and_only_for_longer_than_asked() -> None:
    clock = Clock()

    async def answer(_statement: str, _arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        clock.now += 4
        return [(7, 3, "prod", {"v": 1}, "ready", None)]

    lease = await take_run(answer, RUN, "w1", 10.0, taker="worker", clock=clock)
    assert lease is not None
    assert (lease.epoch, lease.seq, lease.workspace, lease.spec, lease.state) == (7, 3, "prod", {"v": 1}, "ready")
    assert lease.seconds_left() == 6
    assert [lease.lasts(5.9), lease.lasts(6)] == [True, False]
    lease.renew(1003.0, "gracefully")
    assert (lease.seconds_left(), lease.stop_wanted) == (9, "gracefully")
    lease.renew(1001.0, None)
    assert lease.seconds_left() == 9


def test_a_lost_lease_lasts_no_more_and_calls_its_observers_once() -> None:
    lease = Lease(Fence(RUN, 1, uuid.uuid4()), 60.0, 0.0, clock=lambda: 0.0)
    calls = []
    lease.when_lost(lambda: calls.append("early"))
    lease.lose()
    lease.lose()
    lease.when_lost(lambda: calls.append("late"))
    lease.renew(10.0, None)
    assert calls == ["early", "late"]
    assert not lease.lasts(0)


async def test_of_two_takers_one_wins_and_a_finished_run_is_taken_for_records_only(
    cluster: Cluster, database: str, connect: Connect
) -> None:
    Holder(connect("wes_worker")).submit()
    url = f"postgresql://oli_operator@/{database}?host={cluster.folder}&port={cluster.port}"
    links = [Link(url) for _ in range(2)]
    takes = [
        take_run(link.query, RUN, "w1", 60.0, taker=taker)
        for link, taker in zip(links, ("worker", "person"), strict=True)
    ]
    found = await asyncio.gather(*takes)
    (won,) = [lease for lease in found if lease is not None]
    query = links[0].query
    assert await take_run(query, RUN, "w1", 60.0, taker="finished") is None
    assert await let_go_run(query, won, Release("finished", 6, "done")) is True
    assert await take_run(query, RUN, "w1", 60.0, taker="person") is None
    about = await take_run(query, RUN, "w1", 60.0, taker="finished")
    assert about is not None
    assert about.state == "finished"
    assert await let_go_run(query, about) is True
    for link in links:
        await link.close()
