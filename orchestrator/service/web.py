"""What the service answers over HTTP: how it is, and what it counts. Nothing can be changed through it."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import anyio
import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from orchestrator import __version__
from orchestrator.service.metrics import Metrics
from orchestrator.service.overview import Overview

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

    async def counted(request: Request) -> Response:
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
            Route("/metrics", counted),
        ]
    )


class Server(uvicorn.Server):
    """Serves in an event loop that others use too, and leaves signals to them."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                limit_concurrency=64,
                timeout_graceful_shutdown=1,
            )
        )

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
