"""The receiver of all requests of a client, and the protocol of the carriers."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import httpx

from orchestrator.loopback import is_loopback

IDLE = 5.0
"""Seconds after which an idle connection is not used again; many servers close idle connections a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Receiver of all requests of a client, with the headers and limits of every request.

    Attributes:
        base_url: the part of the URL before the path.
        headers: the headers of every request; not in the repr, because the API key is among the headers.
        timeout: seconds for a whole exchange.
        connections: the most connections.
    """

    base_url: str
    headers: dict[str, str]
    timeout: float
    connections: int

    def __repr__(self) -> str:
        return f"<Destination {self.base_url} within {self.timeout:g}s over {self.connections}>"

    @property
    def connect_timeout(self) -> float:
        """Seconds to connect: a part of `timeout`, so a connect timeout shows that the request was never sent."""
        return self.timeout / 2

    @property
    def is_outside(self) -> bool:
        """Whether the target is another machine, so the environment's network settings apply.

        A proxy of the environment is for other machines. A simulator on this machine is not behind the proxy, and an
        unencrypted key for this machine must not leave this machine.
        """
        return not is_loopback(httpx.URL(self.base_url).host)


class Carrier(Protocol):
    """Carries requests to a target. Enter the carrier before use."""

    async def __aenter__(self) -> Self:
        """Open the transport."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None:
        """Close all connections."""
        ...

    async def send(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        """Send a request once, and return the answer with its body unread.

        Args:
            method: the HTTP method, such as `POST`.
            path: the path below the base URL, with the query.
            content: the body as a JSON document; None without a body.

        Raises:
            httpx.ConnectError: when no connection could be made; nothing was sent.
            httpx.ConnectTimeout: when no connection was made in time; nothing was sent.
            httpx.PoolTimeout: when no connection became free in time; nothing was sent.
            httpx.TransportError: when the connection broke, or the answer was not HTTP.
        """
        ...
