"""Loops that POST /cvms/ID/stop and do nothing else: `python -m bench.bare_loops {httpx,aiohttp,raw} URL COUNT WIDTH`.

`raw` is a load, not a client: sockets and `epoll`, prebuilt requests, answers counted and not parsed. `raw` shows the
capacity of the server. Prints `{"seconds", "cpu_seconds"}`, both from the first request to the last answer.
"""

import argparse
import asyncio
import json
import selectors
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import urlsplit

from bench.server import hashid

_HEADERS = {"X-API-Key": "phak_bench", "X-Phala-Version": "2026-06-23", "Accept": "application/json"}
_OK = 200


def _make_addresses(url: str, count: int) -> Iterator[str]:
    return (f"{url}/cvms/{hashid(number)}/stop" for number in range(count))


async def _run_workers(post: Callable[[str], Awaitable[int]], addresses: Iterator[str], width: int) -> None:
    async def worker() -> None:
        for address in addresses:
            status = await post(address)
            if status != _OK:
                raise SystemExit(f"{address} answered {status}")

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(worker())


async def run_httpx(url: str, count: int, width: int) -> tuple[float, float]:
    """Post stops with httpx, `width` at a time; return seconds and CPU seconds."""
    import httpx  # noqa: PLC0415 - each loop loads its own client alone

    limits = httpx.Limits(max_connections=width, max_keepalive_connections=width)
    async with httpx.AsyncClient(headers=_HEADERS, limits=limits, timeout=30, trust_env=False) as client:

        async def post(address: str) -> int:
            """Send one request; returns the status of its answer."""
            response = await client.post(address)
            response.json()
            return response.status_code

        return await _measure_time(lambda: _run_workers(post, _make_addresses(url, count), width))


async def run_aiohttp(url: str, count: int, width: int) -> tuple[float, float]:
    """Post stops with aiohttp, `width` at a time; return seconds and CPU seconds."""
    import aiohttp  # noqa: PLC0415 - each loop loads its own client alone

    connector = aiohttp.TCPConnector(limit=width)
    async with aiohttp.ClientSession(headers=_HEADERS, connector=connector) as client:

        async def post(address: str) -> int:
            """Send one request; returns the status of its answer."""
            async with client.post(address) as response:
                await response.json()
                return response.status

        return await _measure_time(lambda: _run_workers(post, _make_addresses(url, count), width))


async def _measure_time(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    await work()
    return time.perf_counter() - began, time.process_time() - cpu


def run_raw(url: str, count: int, width: int) -> tuple[float, float]:
    """Post stops over `width` plain sockets; return seconds and CPU seconds."""
    parts = urlsplit(url)
    head = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items())
    requests = iter(
        f"POST {urlsplit(address).path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{head}Content-Length: 0\r\n\r\n".encode()
        for address in list(_make_addresses(url, count))
    )
    selector = selectors.DefaultSelector()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(width):
        connection = socket.create_connection((parts.hostname or "", parts.port or 80))
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(next(requests))
    answered = 0
    while answered < count:
        for key, _ in selector.select():
            ready: socket.socket = key.fileobj  # type: ignore[assignment]  # what was registered is a socket
            if b'"status":"stopping"' not in ready.recv(65536):
                raise SystemExit("an answer came in pieces, or was none")
            answered += 1
            following = next(requests, None)
            if following is not None:
                ready.send(following)
    took = time.perf_counter() - began, time.process_time() - cpu
    for key in list(selector.get_map().values()):
        ready = key.fileobj  # type: ignore[assignment]  # the same
        ready.close()
    return took


def main() -> None:
    """Measure one loop once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("client", choices=("httpx", "aiohttp", "raw"))
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("width", type=int)
    asked = parser.parse_args()
    if asked.client == "raw":
        seconds, cpu = run_raw(asked.url, asked.count, asked.width)
    else:
        loop = run_httpx if asked.client == "httpx" else run_aiohttp
        seconds, cpu = asyncio.run(loop(asked.url, asked.count, asked.width))
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
