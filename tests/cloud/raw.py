"""A server that writes what it is told, byte by byte, on real sockets in the test's own event loop."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.cloud.client import PhalaCloud, connect
from tests.cloud.fakes import KEY

STOPPING = b'{"status": "stopping"}'


def answer(body: bytes = STOPPING, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer with this body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@dataclass(slots=True)
class Peer:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes]

    async def request(self) -> bytes:
        """The next request, head and body; raises `IncompleteReadError` at the connection's end."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
        whole = head + await self.reader.readexactly(int(length.partition(b":")[2]))
        self.requests.append(whole)
        return whole

    async def write(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def reset(self) -> None:
        """End the connection with a reset."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()

    async def gone(self) -> int:
        """Wait until the client has closed; how many bytes it still sent."""
        return len(await self.reader.read())


@dataclass(slots=True)
class Raw:
    """What such a server has seen."""

    port: int
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving(
    talk: Callable[[Peer], Awaitable[Any]], host: str = "127.0.0.1", context: ssl.SSLContext | None = None
) -> AsyncIterator[Raw]:
    """A server whose every connection is carried on by `talk`, and closed when that ends."""
    raw = Raw(0)
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(Peer(reader, writer, raw.requests))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0, ssl=context, limit=1 << 22)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def reaching(
    port: int,
    *,
    many: bool,
    host: str = "127.0.0.1",
    scheme: str = "http",
    **options: Any,  # noqa: ANN401 - of connect
) -> AsyncIterator[PhalaCloud]:
    """A client of what listens there."""
    given: dict[str, Any] = {"api_version": "2026-06-23", "timeout": 10.0, "max_in_flight": 4, **options}
    async with connect(f"{scheme}://{host}:{port}/api/v1", KEY, many=many, **given) as cloud:
        yield cloud


def every_name_is(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every host name have these addresses; what is an address stays what it is."""
    resolve = socket.getaddrinfo

    def found(host: str | bytes, *more: Any, **options: Any) -> list[Any]:  # noqa: ANN401 - handed on
        name = host.decode() if isinstance(host, bytes) else host
        hosts = [name] if ":" in name or name.replace(".", "").isdigit() else addresses
        return [each for address in hosts for each in resolve(address, *more, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def always(peer: Peer) -> None:
    """Answer every request alike."""
    while True:
        await peer.request()
        await peer.write(answer())
