"""What the service answers over HTTP: how it is, and what it counts. Nothing can be changed through it."""

import asyncio
import contextlib
import math
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from orchestrator import __version__
from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import Overview

MAX_CONNECTIONS = 64
HEAD_SECONDS = 10.0
"""How long a connection may take for the head of a request, and how long it may stay idle."""
ERROR_EVERY = 60.0
"""Seconds between two log lines of one error of the event loop."""
_ERRORS_KNOWN = 100
_ACCEPTED_AT_ONCE = 16
"""The event loop accepts so many connections before it looks at the first of them."""
_QUEUED = 512
_UNAVAILABLE = 503


def create_app(
    overview: Callable[[], Overview], metrics: Metrics, more_troubles: Callable[[], Sequence[str]]
) -> Starlette:
    """The application.

    Args:
        overview: says how things stand.
        metrics: the numbers.
        more_troubles: what else keeps the service from doing its work.
    """

    async def healthz(_: Request) -> Response:
        """Whether the process is alive: it answers, and has been round its playbooks lately."""
        if overview().is_stuck(anyio.current_time()):
            return PlainTextResponse("stuck\n", _UNAVAILABLE)
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        """Whether firings would be carried out."""
        now = overview()
        troubles = [*now.troubles, *more_troubles()]
        if now.round_at is None:
            troubles.append("it is starting")
        if now.stopping:
            troubles.append("it is stopping")
        document = {"ready": not troubles, "troubles": troubles, "invalid": now.document()["invalid"]}
        return JSONResponse(document, _UNAVAILABLE if troubles else 200)

    async def plural(request: Request) -> Response:
        """The numbers, in the format that is asked for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=None, headers={"content-type": media_type})

    async def all_of_it(_: Request) -> Response:
        """What there is, what runs and what comes next."""
        return JSONResponse({"version": __version__, **overview().document()})

    return Starlette(
        routes=[
            Route("/", all_of_it),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", plural),
        ]
    )


class BoundedProtocol(H11Protocol):
    """One connection, of a bounded number, each with a bounded time for the head of its next request.

    Idle connections must neither keep others from an answer nor take the descriptors that runs need.
    """

    opened_at = 0.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the library has it
        """Begin; the oldest connection ends where there are too many."""
        self.opened_at = self.loop.time()
        # One that was ended a moment ago is still among them.
        open_ones = (each for each in self.connections if isinstance(each, BoundedProtocol))
        others = [each for each in open_ones if not each.transport.is_closing()]
        if len(others) >= max_connections():
            min(others, key=lambda each: each.opened_at).transport.abort()
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_head()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for another request, or end."""
        super().on_response_complete()
        self._await_head()

    def _await_head(self) -> None:
        self._forget_head()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_without_head)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _end_without_head(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.abort()


def max_connections() -> int:
    """How many connections are held at once: an eighth of the descriptors at the most; runs need the others."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, descriptors // 8))


class RepeatedErrors:
    """Tells which of the event loop's errors to log: each of them once a minute."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told_at: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error that nobody waits for."""
        what = str(context.get("exception") or context.get("message"))
        now = loop.time()
        if now - self._told_at.get(what, -math.inf) < ERROR_EVERY:
            return
        if len(self._told_at) >= _ERRORS_KNOWN:
            self._told_at.clear()
        self._told_at[what] = now
        self._tell(f"{context.get('message')}: {what}")


class Server(uvicorn.Server):
    """Serves in an event loop that others use too, and leaves signals to them."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                backlog=_ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=1,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, with a queue of the system's that is longer than what is accepted at once."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUED)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: when it can't.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def url_of(listener: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
