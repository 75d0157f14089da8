"""Carriers of requests to the API, the choice of the carrier, and the destination of all requests of a client.

httpx's own pool loads quickly, but is expensive: the CPU cost of a request grows with the number of connections.
aiohttp takes a quarter of a second to load, and then needs a fraction of the CPU for any number of connections. So few
requests go through httpx, and many requests through aiohttp. If the environment names a proxy, all requests go through
httpx. Both carriers return the answers and raise the errors of httpx.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from orchestrator.loopback import is_loopback

if TYPE_CHECKING:  # files have no permit
    from orchestrator.permit import SendPermit

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


class NotPermittedError(httpx.TransportError):
    """The permit ended before the first byte of a request; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("the permit ended before the first byte")


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

    async def send(
        self, method: str, path: str, content: bytes | None, permit: "SendPermit | None" = None
    ) -> httpx.Response:
        """Send a request once, and return the answer with its body unread.

        Args:
            method: the HTTP method, such as `POST`.
            path: the path below the base URL, with the query.
            content: the body as a JSON document; None without a body.
            permit: asked once the connection stands; None for a request without a permit.

        Raises:
            NotPermittedError: when the permit refuses; nothing was sent.
            httpx.ConnectError: when no connection could be made; nothing was sent.
            httpx.ConnectTimeout: when no connection was made in time; nothing was sent.
            httpx.PoolTimeout: when no connection became free in time; nothing was sent.
            httpx.TransportError: when the connection broke, or the answer was not HTTP.
        """
        ...


def choose_carrier(target: Destination, *, many: bool) -> Carrier:
    """Choose the carrier for the requests to a target.

    Args:
        target: the receiver of the requests.
        many: whether enough requests will come to justify the setup of aiohttp.

    Raises:
        ValueError: when the environment's proxy can't be used.
        ImportError: when the proxy needs a package that is not installed.
        OSError: when the environment's certificates can't be read.
    """
    context = _create_context(httpx.URL(target.base_url))
    limits = httpx.Limits(
        max_connections=target.connections, max_keepalive_connections=target.connections, keepalive_expiry=IDLE
    )
    proxy = find_proxy(target.base_url)
    if proxy is not None or not many:
        address = None if proxy is None else proxy.url
        transport = httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False, proxy=address)
        return ThroughHttpx(target, transport)
    from orchestrator.cloud.aio import ThroughAiohttp  # noqa: PLC0415 - loading it takes longer than a few requests

    return ThroughAiohttp(target, context)


class ThroughHttpx:
    """Carrier over any httpx transport: sockets, or an application in the same process."""

    def __init__(self, target: Destination, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self._base_url = target.base_url.rstrip("/")
        self._headers = httpx.Headers(target.headers)
        connect = target.connect_timeout
        limits = httpx.Timeout(target.timeout, connect=connect, pool=connect)
        self._extensions: dict[str, object] = {"timeout": limits.as_dict()}

    async def __aenter__(self) -> Self:
        """Open the transport."""
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close all connections."""
        await self.transport.__aexit__()

    async def send(
        self, method: str, path: str, content: bytes | None, permit: "SendPermit | None" = None
    ) -> httpx.Response:
        """Send a request once; see `Carrier`. The event loop may run once between the permit and the first byte."""
        url, extensions = self._base_url + path, self._extensions
        if permit is not None:
            extensions = {**extensions, "trace": partial(_ask_permit, permit)}
        request = httpx.Request(method, url, headers=self._headers, content=content, extensions=extensions)
        if content is not None:
            request.headers["Content-Type"] = "application/json"
        return await self.transport.handle_async_request(request)


async def _ask_permit(permit: "SendPermit", event: str, _: Mapping[str, object]) -> None:
    """Ask the permit before the first byte; an httpx trace function, called with every event of a request."""
    if event == "http11.send_request_headers.started" and not permit.may_send():
        raise NotPermittedError


@dataclass(frozen=True, slots=True)
class Proxy:
    """Proxy from the environment for an address.

    Attributes:
        variable: the environment variable with the proxy.
        url: the URL of the proxy; may contain a password.
    """

    variable: str
    url: str

    def __repr__(self) -> str:
        return f"<Proxy of {self.variable}>"

    @property
    def host(self) -> str:
        """Host and port of the proxy."""
        return self.url.rpartition("@")[2].partition("://")[2] or self.url.rpartition("@")[2]


def find_proxy(url: str) -> Proxy | None:
    """Find the proxy for an address in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; None for this machine and NO_PROXY.

    A simulator on this machine is not behind the proxy, and an unencrypted key must not leave this machine.
    """
    parts = urlsplit(url)
    host, named = parts.hostname or "", getproxies()
    scheme = parts.scheme if named.get(parts.scheme) else "all"
    proxy = named.get(scheme)
    if not proxy or is_loopback(host) or proxy_bypass(host):
        return None
    return Proxy(f"{scheme.upper()}_PROXY", proxy if "://" in proxy else f"http://{proxy}")


def _create_context(url: httpx.URL) -> ssl.SSLContext:
    """Create the TLS context; trust SSL_CERT_FILE or SSL_CERT_DIR of the environment, else the usual authorities.

    The environment's authorities are for other machines only.
    """
    if url.scheme == "https":
        return httpx.create_ssl_context(trust_env=not is_loopback(url.host))
    # Reading the authorities takes time. Nothing is encrypted here, so this context trusts no authority.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
