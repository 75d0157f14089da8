"""The service over HTTP: health and metrics; the page and its JSON are imported at their first request."""

import asyncio
import contextlib
import math
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import Overview

if TYPE_CHECKING:
    from orchestrator.service.page.routes import Page, PageHost

MAX_CONNECTIONS = 128
HEAD_SECONDS = 10.0
"""Time limit for the head of a request, and for an idle connection."""
ERROR_EVERY = 60.0
"""Seconds between two log lines about the same error of the event loop."""
_ERRORS_KNOWN = 100
_ACCEPTED_AT_ONCE = 16
"""Number of connections accepted by the event loop before it serves the first."""
_QUEUED = 512
_UNAUTHORIZED, _UNAVAILABLE = 401, 503


class LazyPage:
    """The page as an ASGI application, made at the first request: a service without viewers does not import the page.

    Attributes:
        has_open_metrics: whether the metrics need no token.
    """

    def __init__(self, host: "Callable[[], PageHost]", *, has_open_metrics: bool = True) -> None:
        self.has_open_metrics = has_open_metrics
        self._host = host
        self._made: Page | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._make().app(scope, receive, send)

    def may_read_metrics(self, request: Request) -> bool:
        """Check the access to the metrics."""
        return self.has_open_metrics or self._make().may_read(request)

    def close(self) -> None:
        """End the connections of all viewers."""
        if self._made is not None:
            self._made.close()

    def _make(self) -> "Page":
        if self._made is None:
            from orchestrator.service.page.routes import Page  # noqa: PLC0415 - only with viewers

            self._made = Page(self._host())
        return self._made


def create_app(
    overview: Callable[[], Overview],
    metrics: Metrics,
    more_troubles: Callable[[], Sequence[str]],
    page: LazyPage | None = None,
) -> Starlette:
    """Create the HTTP application.

    Args:
        overview: returns the state of the service.
        metrics: metrics of the service.
        more_troubles: returns more problems of the service.
        page: the page; None for a service without the page.
    """

    async def serve_healthz(_: Request) -> Response:
        """Report a live process: a recent round over the playbooks."""
        if overview().is_stuck(anyio.current_time()):
            return PlainTextResponse("stuck\n", _UNAVAILABLE)
        return PlainTextResponse("ok\n")

    async def serve_readyz(_: Request) -> Response:
        """Report a service ready for firings."""
        now = overview()
        troubles = [*now.troubles, *more_troubles()]
        if now.round_at is None:
            troubles.append("the service is starting")
        if now.stopping:
            troubles.append("the service is stopping")
        document = {"ready": not troubles, "troubles": troubles, "invalid": now.document()["invalid"]}
        return JSONResponse(document, _UNAVAILABLE if troubles else 200)

    async def serve_metrics(request: Request) -> Response:
        """Return the metrics, in the requested format."""
        if page is not None and not page.may_read_metrics(request):
            return PlainTextResponse("a token is required\n", _UNAUTHORIZED, {"WWW-Authenticate": "Bearer"})
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=None, headers={"content-type": media_type})

    return Starlette(
        routes=[
            Route("/healthz", serve_healthz),
            Route("/readyz", serve_readyz),
            Route("/metrics", serve_metrics),
            *([Mount("/", page)] if page is not None else ()),
        ]
    )


class BoundedProtocol(H11Protocol):
    """A connection with a time limit for the head of its next request; the number of connections is limited.

    Idle connections must not block other connections, nor use up the file descriptors of runs.
    """

    opened_at = 0.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the library has it
        """Begin; aborts the oldest connection above the limit."""
        self.opened_at = self.loop.time()
        # A connection aborted a moment ago is still in the set.
        open_ones = (each for each in self.connections if isinstance(each, BoundedProtocol))
        others = [each for each in open_ones if not each.transport.is_closing()]
        if len(others) >= max_connections():
            min(others, key=lambda each: each.opened_at).transport.abort()
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self._forget_head()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the time limit for the next request."""
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
    """Return the limit of open connections: at most an eighth of the file descriptors, for the sake of the runs."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, descriptors // 8))


class RepeatedErrors:
    """Filter for errors of the event loop: passes each error on once a minute."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._told_at: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error without a waiting task."""
        what = str(context.get("exception") or context.get("message"))
        now = loop.time()
        if now - self._told_at.get(what, -math.inf) < ERROR_EVERY:
            return
        if len(self._told_at) >= _ERRORS_KNOWN:
            self._told_at.clear()
        self._told_at[what] = now
        self._emit(f"{context.get('message')}: {what}")


class Server(uvicorn.Server):
    """HTTP server in a shared event loop, without signal handlers of its own."""

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
        """Start, with a system queue longer than the number of connections accepted at once."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUED)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


def open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        OSError: when the address can't be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def format_url(listener: socket.socket) -> str:
    """Format the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
