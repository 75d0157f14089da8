"""The network between a client that can be killed and a simulated cloud that lives on."""

import math
from collections import Counter
from random import Random

import anyio
import anyio.abc
import httpx

from orchestrator.simulator.app import Simulator
from orchestrator.simulator.memory import MemoryTransport


class Network(httpx.AsyncBaseTransport):
    """Carries the requests of one process. What left the process arrives, also when the process is dead by then.

    Attributes:
        is_dead: whether the process was killed; it sends nothing and hears nothing from then on.
        sent: by action and CVM, how many requests were sent.
    """

    def __init__(self, app: Simulator, servers: anyio.abc.TaskGroup, rng: Random) -> None:
        """Set up.

        Args:
            app: the simulated cloud.
            servers: where requests are answered, whatever becomes of the process.
            rng: decides how long a request is under way.
        """
        self.is_dead = False
        self.sent: Counter[str] = Counter()
        self._server, self._servers, self._rng = MemoryTransport(app), servers, rng

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Deliver a request and wait for its answer, as long as the client's read time-out allows."""
        if self.is_dead:
            await anyio.sleep_forever()
        timeout = request.extensions.get("timeout", {}).get("read") or math.inf
        parts = request.url.path.split("/")
        if request.method == "POST" and parts[-1] in {"stop", "shutdown", "start", "restart"}:
            self.sent[f"{parts[-1]} {parts[-2]}"] += 1
        call = _Call(request, self._rng.uniform(0.0, 0.02))
        self._servers.start_soon(call.answer, self._server)
        try:
            with anyio.fail_after(timeout):
                await call.done.wait()
        except TimeoutError as error:
            raise httpx.ReadTimeout("The read operation timed out", request=request) from error
        if call.failure is not None:
            raise call.failure
        assert call.response is not None
        return call.response


class _Call:
    """One request under way."""

    def __init__(self, request: httpx.Request, latency: float) -> None:
        self.done = anyio.Event()
        self.response: httpx.Response | None = None
        self.failure: httpx.HTTPError | None = None
        # Without the time-out of the client: the server does not know of it.
        self._request = httpx.Request(request.method, request.url, headers=request.headers, stream=request.stream)
        self._latency = latency

    async def answer(self, server: MemoryTransport) -> None:
        """Arrive, be answered, and come back."""
        await anyio.sleep(self._latency)
        try:
            self.response = await server.handle_async_request(self._request)
        except httpx.HTTPError as failure:
            self.failure = failure
        self.done.set()
