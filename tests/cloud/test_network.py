"""What the network does: told apart by whether the request may have left, bounded in time and size."""

import gzip

import anyio
import httpx
import pytest

from orchestrator.action import Action
from orchestrator.cloud.http import LARGEST_ANSWER
from tests.cloud.fakes import OPERATIONS, Endless, Server, ask, client
from tests.simulator.cloud import cloud as simulated

pytestmark = pytest.mark.anyio

ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""httpx leaves its own generators to the collector when a body is left unread, of which trio warns."""


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("slow"), False),
        (httpx.PoolTimeout("busy"), False),
        (httpx.ProxyError("407"), False),
        (httpx.ReadError("reset"), True),
        (httpx.WriteError("reset"), True),
        (httpx.RemoteProtocolError("cut"), True),
        (httpx.LocalProtocolError("header"), True),
        (httpx.ReadTimeout(""), True),
        (httpx.WriteTimeout(""), True),
        (httpx.CloseError(""), True),
        (OSError("gone"), True),
    ],
)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_only_what_failed_to_connect_is_certain_not_to_have_left(
    operation: str, error: Exception, *, sent: bool
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with client(Server(fail)) as cloud:
        reply = await OPERATIONS[operation](cloud)
    assert (reply.value, reply.http_status, reply.sent) == (None, None, sent)
    assert reply.problem


async def test_an_answer_that_never_comes_ends_after_the_timeout_to_the_second() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with client(Server(never), timeout=12) as cloud:
        begun = anyio.current_time()
        reply = await OPERATIONS["stop"](cloud)
    assert anyio.current_time() - begun == pytest.approx(12, abs=0.001)
    assert (reply.http_status, reply.sent, reply.problem) == (None, True, "no answer within 12s")


async def test_a_body_that_trickles_ends_after_the_timeout_too() -> None:
    class Trickle(Endless):
        async def __aiter__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - as its parent's
            while True:
                await anyio.sleep(1)
                yield b" "

    body = Trickle()
    async with client(Server(lambda _: httpx.Response(200, stream=body)), timeout=12) as cloud:
        begun = anyio.current_time()
        reply = await OPERATIONS["stop"](cloud)
    assert anyio.current_time() - begun == pytest.approx(12, abs=0.001)
    assert (reply.http_status, reply.problem) == (200, "HTTP 200, but no whole answer within 12s")
    assert body.closed


@ON_ASYNCIO
@pytest.mark.parametrize(("operation", "most"), [("stop", 4 << 20), ("state", 4 << 20), ("list_page", LARGEST_ANSWER)])
async def test_an_answer_that_is_too_large_is_cut_off(operation: str, most: int) -> None:
    body = Endless()
    async with client(Server(lambda _: httpx.Response(200, stream=body))) as cloud:
        reply = await OPERATIONS[operation](cloud)
    assert "larger than" in (reply.problem or "")
    assert (reply.value, reply.http_status, reply.sent) == (None, 200, True)
    assert body.taken <= most + (2 << 20)
    assert body.closed


@ON_ASYNCIO
async def test_a_small_answer_that_unpacks_to_a_large_one_is_cut_off() -> None:
    bomb = gzip.compress(b" " * (20 << 20))
    reply = await ask("stop", 200, bomb, {"content-encoding": "gzip"})
    assert "larger than" in (reply.problem or "")


async def test_an_answer_that_does_not_unpack_is_a_broken_connection() -> None:
    reply = await ask("stop", 200, b"no gzip", {"content-encoding": "gzip"})
    assert (reply.value, reply.sent) == (None, True)
    assert "the connection broke" in (reply.problem or "")


async def test_a_cancelled_request_closes_its_answer() -> None:
    class Stuck(Endless):
        async def __aiter__(self):  # type: ignore[no-untyped-def] # noqa: ANN204 - as its parent's
            yield b"{"
            await anyio.sleep_forever()

    body = Stuck()
    async with client(Server(lambda _: httpx.Response(200, stream=body))) as cloud:
        with anyio.move_on_after(3) as scope:
            await OPERATIONS["stop"](cloud)
    assert scope.cancelled_caught
    assert body.closed


async def test_the_simulator_is_understood_in_every_version() -> None:
    from orchestrator.cloud.client import API_VERSIONS, connect  # noqa: PLC0415 - for this test alone
    from orchestrator.simulator.memory import MemoryTransport  # noqa: PLC0415 - the same

    for version in API_VERSIONS:
        async with (
            simulated() as sky,
            connect(
                "http://simulated/api/v1",
                sky.world.api_key,
                api_version=version,
                timeout=30,
                max_in_flight=4,
                transport=MemoryTransport(sky.app),
            ) as cloud,
        ):
            page = (await cloud.list_page(1, 100)).value
            assert page is not None
            assert (page.total, page.pages, len(page.cvms)) == (12, 1, 12)
            first = page.cvms[0]
            assert (await cloud.list_app(first.ref.app_id or "")).value
            assert (await cloud.price_list()).value
            stopped = await cloud.act(Action.STOP, first.ref)
            assert stopped.value is not None
            assert stopped.value.status == "stopping"
            await anyio.sleep(600)
            state = await cloud.read_state(first.ref)
            assert state.value is not None
            assert state.value.down
            batch = await cloud.read_statuses([cvm.ref.vm_uuid or "" for cvm in page.cvms])
            assert batch.value is not None
            assert {cvm.ref.uuid_key for cvm in page.cvms} == set(batch.value)
            assert batch.value[first.ref.uuid_key or ""].down
