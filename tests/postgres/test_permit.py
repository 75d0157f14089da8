"""The permit over a lease: how long a lease must last, and the end of the wait."""

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from orchestrator.postgres.permit import LeasePermit

pytestmark = pytest.mark.anyio
TIMEOUT, OUTAGE = 30.0, 600.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Time is virtual."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Lease:
    """A lease of so many seconds."""

    def __init__(self, left: float) -> None:
        self.left, self.is_lost = left, False

    def lasts(self, seconds: float) -> bool:
        return self.left >= seconds


@pytest.mark.parametrize(("left", "may_send"), [(60, True), (30, True), (29.9, False), (0, False), (-5, False)])
def test_the_lease_has_to_outlast_a_whole_request(left: float, may_send: bool) -> None:
    assert LeasePermit(Lease(left), TIMEOUT, OUTAGE).may_send() is may_send


def test_a_lost_lease_permits_nothing_however_long_it_seemed_to_last() -> None:
    lease = Lease(60)
    lease.is_lost = True
    assert not LeasePermit(lease, TIMEOUT, OUTAGE).may_send()


async def test_the_wait_ends_with_the_renewal() -> None:
    lease = Lease(0)
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(LeasePermit(lease, TIMEOUT, OUTAGE).wait)
        await anyio.sleep(100)
        lease.left = 60
    assert 100 <= anyio.current_time() - began < 101


async def test_the_wait_ends_with_the_loss_of_the_lease() -> None:
    lease = Lease(0)
    began = anyio.current_time()
    async with anyio.create_task_group() as group:
        group.start_soon(LeasePermit(lease, TIMEOUT, OUTAGE).wait)
        await anyio.sleep(100)
        lease.is_lost = True
    assert 100 <= anyio.current_time() - began < 101


async def test_the_wait_ends_after_the_longest_outage_without_a_permit() -> None:
    permit = LeasePermit(Lease(0), TIMEOUT, OUTAGE)
    began = anyio.current_time()
    await permit.wait()
    assert anyio.current_time() - began == pytest.approx(OUTAGE)
    assert not permit.may_send()
