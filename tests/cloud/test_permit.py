"""The permit of requests with an effect: asked before the call, and again directly before the first byte."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_writer import StreamWriter

from orchestrator.action import Action
from orchestrator.cloud.aio import _PermittedBody
from orchestrator.cloud.client import PhalaCloud
from orchestrator.reply import Reply
from tests.cloud.fakes import REF, UUID
from tests.cloud.raw import Peer, Raw, always, answer, every_name_is, reaching, serving

pytestmark = pytest.mark.anyio
Change = Callable[[PhalaCloud], Awaitable[Reply[Any]]]
CHANGES: dict[str, Change] = {
    "stop": lambda cloud: cloud.act(Action.STOP, REF),
    "batch": lambda cloud: cloud.stop_many(["cvm_1", "cvm_2"]),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Permit:
    """A permit that a test ends."""

    def __init__(self) -> None:
        self.holds = True
        self.asked = self.waits = 0
        self.asked_thrice = asyncio.Event()

    def may_send(self) -> bool:
        self.asked += 1
        if self.asked == 3:
            self.asked_thrice.set()
        return self.holds

    async def wait(self) -> None:
        self.waits += 1
        self.holds = True


@asynccontextmanager
async def permitted(permit: Permit, server: Raw, *, many: bool, **options: Any) -> AsyncIterator[PhalaCloud]:  # noqa: ANN401 - of connect
    async with reaching(server.port, many=many, **options) as cloud:
        cloud.require_permit(permit)
        yield cloud


def is_withheld(reply: Reply[Any]) -> bool:
    """Whether nothing was sent for want of a permit."""
    return not reply.sent and not reply.permitted and reply.value is None and reply.http_status is None


@pytest.mark.parametrize("many", [True, False], ids=["aiohttp", "httpx"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_without_a_permit_no_connection_is_made_and_the_turn_is_given_back_after_the_wait(
    change: Change, many: bool
) -> None:
    permit = Permit()
    permit.holds = False
    async with serving(always) as server, permitted(permit, server, many=many) as cloud:
        assert is_withheld(await change(cloud))
        assert (server.connections, permit.waits) == (0, 1)
        assert not is_withheld(await change(cloud))
    assert len(server.requests) == 1


@pytest.mark.parametrize("many", [True, False], ids=["aiohttp", "httpx"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_connection_that_stands_after_the_end_of_the_permit_carries_not_one_byte(
    monkeypatch: pytest.MonkeyPatch, change: Change, many: bool
) -> None:
    """The network holds the connection until the permit is gone."""
    permit, looked_up, go = Permit(), threading.Event(), threading.Event()
    received: list[int] = []
    gone = asyncio.Event()

    async def count(peer: Peer) -> None:
        received.append(await peer.gone())
        gone.set()

    every_name_is(monkeypatch, "127.0.0.1")
    resolve = socket.getaddrinfo

    def held(host: str | bytes, *more: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
        if host in {"cloud.example", b"cloud.example"}:
            looked_up.set()
            go.wait(10)
        return resolve(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", held)
    async with serving(count) as server, permitted(permit, server, many=many, host="cloud.example") as cloud:
        request = asyncio.ensure_future(change(cloud))
        await asyncio.to_thread(looked_up.wait, 10)
        permit.holds = False
        go.set()
        assert is_withheld(await request)
        await asyncio.wait_for(gone.wait(), 10)
    assert (server.connections, received, permit.waits) == (1, [0], 0)


@pytest.mark.parametrize("many", [True, False], ids=["aiohttp", "httpx"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_kept_connection_that_becomes_free_after_the_end_of_the_permit_carries_not_one_byte(
    change: Change, many: bool
) -> None:
    permit, arrived, go, gone = Permit(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    more: list[int] = []

    async def talk(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await go.wait()
        await peer.write(answer())
        more.append(await peer.gone())
        gone.set()

    async with serving(talk) as server:
        async with permitted(permit, server, many=many, max_in_flight=1) as cloud:
            first = asyncio.ensure_future(CHANGES["stop"](cloud))
            await arrived.wait()
            second = asyncio.ensure_future(change(cloud))
            await permit.asked_thrice.wait()  # for the first request twice, and before the second call
            permit.holds = False
            go.set()
            assert (await first).value is not None
            assert is_withheld(await second)
        await asyncio.wait_for(gone.wait(), 10)
    assert (server.connections, more) == (1, [0])


@pytest.mark.parametrize("many", [True, False], ids=["aiohttp", "httpx"])
async def test_a_permitted_request_has_the_bytes_of_a_request_without_a_permit(many: bool) -> None:
    async with serving(always) as server:
        for change in CHANGES.values():
            async with reaching(server.port, many=many) as plain, permitted(Permit(), server, many=many) as cloud:
                await change(plain)
                await change(cloud)
    first, second, third, fourth = server.requests
    assert (first, third) == (second, fourth)


@pytest.mark.parametrize("many", [True, False], ids=["aiohttp", "httpx"])
async def test_reads_need_no_permit(many: bool) -> None:
    permit = Permit()
    permit.holds = False
    async with serving(always) as server, permitted(permit, server, many=many) as cloud:
        for reply in (await cloud.read_state(REF), await cloud.read_statuses([UUID]), await cloud.list_page(1, 1)):
            assert reply.sent
    assert (permit.asked, len(server.requests)) == (0, 3)


async def test_nothing_else_runs_between_the_permit_and_the_first_byte() -> None:
    """The coroutine never gives way to the event loop: its first step is its last."""
    loop, order = asyncio.get_running_loop(), list[str]()

    class Transport(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

        def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
            order.append(bytes(data).decode())

    class Noting(Permit):
        def may_send(self) -> bool:
            order.append("asked")
            return True

    protocol = BaseProtocol(loop)
    protocol.transport = Transport()
    writer = StreamWriter(protocol, loop)
    await writer.write_headers("POST /stop HTTP/1.1", {})  # type: ignore[arg-type] # empty
    with pytest.raises(StopIteration):
        _PermittedBody(b"", Noting()).write_with_length(writer, None).send(None)
    assert order == ["asked", "POST /stop HTTP/1.1\r\n\r\n"]
