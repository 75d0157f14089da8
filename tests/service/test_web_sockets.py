"""Connections with no request or half a request, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from orchestrator.service import web
from orchestrator.service.metrics import Metrics
from orchestrator.service.web import RepeatedErrors, Server, create_app, open_listener
from tests.service.test_web import CALM

pytestmark = pytest.mark.anyio
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    """The server needs asyncio."""
    return "asyncio"


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """A server of this test; gives its port."""
    listener = open_listener("127.0.0.1", 0)
    server = Server(create_app(lambda: CALM, Metrics(lambda: CALM), list))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTT", REQUEST + b"GET /metr"])
async def test_a_connection_without_a_whole_request_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Also a connection with an earlier reply."""
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.3)
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = b""
        with suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert (b"200 OK" in answer) == (REQUEST in sent) or not answer


async def test_a_new_connection_takes_the_place_of_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 3)
    async with served() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        assert b"200 OK" in await asyncio.wait_for(reader.readline(), 20)
        assert await asyncio.wait_for(_ends(idle[0][0]), 20)
        for _, each in [*idle, (reader, writer)]:
            each.close()


async def _ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_an_error_of_the_event_loop_is_told_once_a_minute() -> None:
    now, told = 0.0, list[str]()

    class Loop:
        def time(self) -> float:
            return now

    loop: Any = Loop()
    handle = RepeatedErrors(told.append)
    for _ in range(1000):
        handle(loop, {"message": "socket.accept() failed", "exception": OSError(24, "Too many open files")})
    handle(loop, {"message": "another"})
    assert len(told) == 2
    now = 61.0
    handle(loop, {"message": "socket.accept() failed", "exception": OSError(24, "Too many open files")})
    assert len(told) == 3
