"""The network between a mortal process and a lasting simulated cloud."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import anyio.abc
import httpx

from orchestrator.simulator.app import Simulator
from orchestrator.simulator.memory import MemoryTransport

_ACTIONS = frozenset({"stop", "shutdown", "start", "restart"})


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of the API: no connection can be made from `begin` until `end`, in seconds of virtual time."""

    begin: float
    end: float


class Network(httpx.AsyncBaseTransport):
    """Carry the requests of a process. A sent request arrives, also after the death of the process.

    Attributes:
        is_dead: whether the process was killed; a dead process sends and receives nothing.
        sent: by action and CVM, the number of sent requests.
    """

    def __init__(
        self,
        app: Simulator,
        servers: anyio.abc.TaskGroup,
        draw_latency: Callable[[], float],
        outages: Sequence[Outage] = (),
    ) -> None:
        """Set up.

        Args:
            app: the simulated cloud.
            servers: answers the requests, also after the end of the process.
            draw_latency: draws the seconds of a request on its way.
            outages: the outages of the API.
        """
        self.is_dead = False
        self.sent: Counter[str] = Counter()
        self._server, self._servers = MemoryTransport(app), servers
        self._draw_latency, self._outages = draw_latency, outages

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Deliver a request, and wait for the answer until the client's read timeout."""
        if self.is_dead:
            await anyio.sleep_forever()
        if self._outages and self._is_down(anyio.current_time()):
            await anyio.sleep(self._draw_latency())
            raise httpx.ConnectError("connection refused (outage of the rehearsal)", request=request)
        timeout = request.extensions.get("timeout", {}).get("read") or math.inf
        parts = request.url.path.split("/")
        if request.method == "POST" and parts[-1] in _ACTIONS:
            self.sent[f"{parts[-1]} {parts[-2]}"] += 1
        call = _Call(request, self._draw_latency())
        self._servers.start_soon(call.answer, self._server)
        try:
            with anyio.fail_after(timeout):
                await call.done.wait()
        except TimeoutError as error:
            raise httpx.ReadTimeout("The read operation timed out", request=request) from error
        if call.failure is not None:
            raise call.failure
        assert call.response is not None  # noqa: S101 - for the type checker; a call ends with one of both
        return call.response

    def _is_down(self, now: float) -> bool:
        return any(outage.begin <= now < outage.end for outage in self._outages)


class _Call:
    """A request on its way."""

    def __init__(self, request: httpx.Request, latency: float) -> None:
        self.done = anyio.Event()
        self.response: httpx.Response | None = None
        self.failure: httpx.HTTPError | None = None
        # Without the timeout of the client: the server does not know the timeout.
        self._request = httpx.Request(request.method, request.url, headers=request.headers, stream=request.stream)
        self._latency = latency

    async def answer(self, server: MemoryTransport) -> None:
        """Arrive, and bring the answer back."""
        await anyio.sleep(self._latency)
        try:
            self.response = await server.handle_async_request(self._request)
        except httpx.HTTPError as failure:
            self.failure = failure
        self.done.set()
