"""A server that answers as told, inside the process, and remembers what it was asked."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from orchestrator.action import Action
from orchestrator.cloud.client import PhalaCloud, connect
from orchestrator.cvm import CvmRef
from orchestrator.reply import Reply

KEY = "phak_5ecret"
UUID = "0a1b2c3d-0000-4000-8000-00000000000f"
REF = CvmRef("cvm_1", UUID, "dev-1", "a1", 1, "prod-1")
SINCE, UNTIL = datetime(2026, 11, 22, 7, 30, tzinfo=UTC), datetime(2026, 11, 24, 9, 0, 0, 5, tzinfo=UTC)

Call = Callable[[PhalaCloud], Any]
OPERATIONS: dict[str, Call] = {
    "list_page": lambda cloud: cloud.list_page(1, 100),
    "list_app": lambda cloud: cloud.list_app("ab12"),
    "cvm": lambda cloud: cloud.read_cvm(REF),
    "price_list": lambda cloud: cloud.price_list(),
    "usage_page": lambda cloud: cloud.usage_page("ab12", since=SINCE, until=UNTIL, limit=5000, offset=10_000),
    "stop": lambda cloud: cloud.act(Action.STOP, REF),
    "shutdown": lambda cloud: cloud.act(Action.SHUTDOWN, REF),
    "start": lambda cloud: cloud.act(Action.START, REF),
    "restart": lambda cloud: cloud.act(Action.RESTART, REF),
    "statuses": lambda cloud: cloud.read_statuses([UUID]),
    "state": lambda cloud: cloud.read_state(REF),
}


class Server(httpx.AsyncBaseTransport):
    """Answers every request in the same way."""

    def __init__(self, answer: Callable[[httpx.Request], Any]) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Remember the request, and answer it or raise what a network would."""
        self.requests.append(request)
        result = self._answer(request)
        answer = await result if hasattr(result, "__await__") else result
        assert isinstance(answer, httpx.Response)
        return answer


class Endless(httpx.AsyncByteStream):
    """A body that never ends; counts what was taken of it."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.taken += 1 << 20
            yield b" " * (1 << 20)

    async def aclose(self) -> None:
        self.closed = True


@asynccontextmanager
async def client(server: httpx.AsyncBaseTransport, *, timeout: float = 30.0) -> AsyncIterator[PhalaCloud]:  # noqa: ASYNC109 - the client's own
    """A client of this server."""
    async with connect(
        "https://cloud.example/api/v1",
        KEY,
        api_version="2026-06-23",
        timeout=timeout,
        max_in_flight=4,
        transport=server,
    ) as cloud:
        yield cloud


async def ask(operation: str, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Reply[Any]:
    """The reply of one operation to this answer."""
    async with client(Server(lambda _: httpx.Response(status, content=body, headers=headers or {}))) as cloud:
        return await OPERATIONS[operation](cloud)  # type: ignore[no-any-return] # one of several replies
