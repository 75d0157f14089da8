"""The connection for short statements: a silent network, a broken connection, a cancelled caller."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.postgres.link import Link
from tests.postgres.cluster import Cluster
from tests.postgres.proxy import Proxy, start_proxy

pytestmark = pytest.mark.anyio
SLEEP = "SELECT pg_sleep(30)"


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with start_proxy(cluster.folder, cluster.port) as started:
        yield started


@pytest.fixture
async def link(proxy: Proxy, database: str) -> AsyncIterator[Link]:
    """A link with a patience of 0.3 seconds, already connected."""
    opened = Link(f"postgresql://wes_worker@127.0.0.1:{proxy.port}/{database}", timeout=0.3)
    assert await opened.query("SELECT 1") == [(1,)]
    yield opened
    await opened.close()


async def test_a_silent_network_fails_a_statement_in_time_and_the_next_statement_connects_again(
    link: Link, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.is_stalled = True
    for _ in range(2):  # with a connection, and without
        began = time.monotonic()
        with pytest.raises(StoreDownError, match="gave no answer"):
            await link.query("SELECT 1")
        assert time.monotonic() - began < 2
    proxy.is_stalled = False
    assert await link.query("SELECT 2") == [(2,)]
    assert caplog.records == []


async def test_a_slow_statement_or_a_broken_connection_fails_and_the_next_statement_connects_again(
    link: Link, proxy: Proxy
) -> None:
    with pytest.raises(StoreDownError, match="gave no answer"):
        await link.query(SLEEP)
    assert await link.query("SELECT 1") == [(1,)]
    proxy.break_off()
    with pytest.raises(StoreDownError, match="the connection to the store broke"):
        await link.query("SELECT 1")
    with pytest.raises(StoreDownError, match="can't be reached"):
        await link.query("SELECT 1")
    proxy.is_down = False
    with pytest.raises(SettingsError, match="no rights"):
        await link.query("SELECT * FROM orchestrator.runs")
    assert await link.query("SELECT 1") == [(1,)]


async def test_a_cancelled_caller_leaves_a_link_of_use(link: Link, caplog: pytest.LogCaptureFixture) -> None:
    waiting = asyncio.create_task(link.query(SLEEP))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - began < 2
    assert await link.query("SELECT 1") == [(1,)]
    assert caplog.records == []


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("Invalid file descriptor: -1")])
async def test_a_failure_of_the_driver_is_an_outage(error: BaseException) -> None:
    """A cancellation within the driver must not end the caller, nor another error of a breaking connection."""

    class BrokenLink(Link):
        async def _execute(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
            del statement, arguments
            raise error

    with pytest.raises(StoreDownError, match="the driver"):
        await BrokenLink("postgresql://ann@127.0.0.1:9/x").query("SELECT 1")
