"""The ways to the API's sockets, and which of them a client takes.

httpx's own pool is quick to load, and dear to use: its cost for each request grows with its width. aiohttp is the other
way round: it takes a quarter of a second to load, then a fraction of the CPU whatever the width. So few requests go
through the one, and many through the other. Where the environment names a proxy, all go through httpx. Whatever carries
them, answers and errors are httpx's.
"""

import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from orchestrator.loopback import is_loopback

IDLE = 5.0
"""Seconds after which a connection that is not in use is not used again; many servers close theirs a little later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where all requests of a client go, and what each of them carries.

    Attributes:
        base_url: what stands before the path of each.
        headers: what each carries: the key among them, so they are in no repr.
        timeout: seconds for the whole of one exchange.
        connections: how many there are at the most.
    """

    base_url: str
    headers: dict[str, str]
    timeout: float
    connections: int

    def __repr__(self) -> str:
        return f"<Target {self.base_url} within {self.timeout:g}s over {self.connections}>"

    @property
    def connect_timeout(self) -> float:
        """Seconds until a connection has to stand: a part of the time, so that it shows when a request never left."""
        return self.timeout / 2

    @property
    def outside(self) -> bool:
        """Whether it is another machine than this one, so that what the environment says of the network holds.

        A proxy named there is for the outside world; a simulator on this machine is not behind it, and a key that is
        sent in the clear to this machine must not leave it.
        """
        return not is_loopback(httpx.URL(self.base_url).host)


class Carrier(Protocol):
    """Carries requests to a target. To be entered before use."""

    async def __aenter__(self) -> Self:
        """Get ready."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None, /
    ) -> None:
        """Close all connections."""
        ...

    async def send(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        """Send a request once, and give the answer with its body unread.

        Args:
            method: such as `POST`.
            path: below the base URL, with its query.
            content: a JSON document, if there is a body.

        Raises:
            httpx.ConnectError: when no connection could be made; nothing was sent.
            httpx.ConnectTimeout: when none stood in time; nothing was sent.
            httpx.PoolTimeout: when none became free in time; nothing was sent.
            httpx.TransportError: when the connection broke, or what came over it was no HTTP.
        """
        ...


def carrier_to(target: Target, *, many: bool) -> Carrier:
    """What is to carry the requests to this target.

    Args:
        target: where they go.
        many: whether so many are to come that getting ready for them pays.

    Raises:
        ValueError: when the environment's proxy can't be used.
        ImportError: when it needs what is not installed.
        OSError: when the environment's certificates can't be read.
    """
    scheme = httpx.URL(target.base_url).scheme
    context = _context(scheme, trust_env=target.outside)
    limits = httpx.Limits(
        max_connections=target.connections, max_keepalive_connections=target.connections, keepalive_expiry=IDLE
    )
    proxy = proxy_for(target.base_url)
    if proxy is not None or not many:
        address = None if proxy is None else proxy.url
        transport = httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False, proxy=address)
        return ThroughHttpx(target, transport)
    from orchestrator.cloud.aio import ThroughAiohttp  # noqa: PLC0415 - loading it takes longer than a few requests

    return ThroughAiohttp(target, context)


class ThroughHttpx:
    """Any transport of httpx's kind as a carrier: sockets, or the application in the same process."""

    def __init__(self, target: Target, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self._base_url = target.base_url.rstrip("/")
        self._headers = httpx.Headers(target.headers)
        connect = target.connect_timeout
        self._extensions = {"timeout": httpx.Timeout(target.timeout, connect=connect, pool=connect).as_dict()}

    async def __aenter__(self) -> Self:
        """Get ready."""
        await self.transport.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close all connections."""
        await self.transport.__aexit__()

    async def send(self, method: str, path: str, content: bytes | None) -> httpx.Response:
        """Send a request once; see `Carrier`."""
        url = self._base_url + path
        request = httpx.Request(method, url, headers=self._headers, content=content, extensions=self._extensions)
        if content is not None:
            request.headers["Content-Type"] = "application/json"
        return await self.transport.handle_async_request(request)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy of the environment for an address.

    Attributes:
        variable: the environment variable that names the proxy.
        url: the proxy; may hold a password.
    """

    variable: str
    url: str

    def __repr__(self) -> str:
        return f"<Proxy of {self.variable}>"

    @property
    def host(self) -> str:
        """The host and port of the proxy."""
        return self.url.rpartition("@")[2].partition("://")[2] or self.url.rpartition("@")[2]


def proxy_for(url: str) -> Proxy | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names for an address; None for this machine and NO_PROXY."""
    parts = urlsplit(url)
    host, named = parts.hostname or "", getproxies()
    scheme = parts.scheme if named.get(parts.scheme) else "all"
    proxy = named.get(scheme)
    if not proxy or is_loopback(host) or proxy_bypass(host):
        return None
    return Proxy(f"{scheme.upper()}_PROXY", proxy if "://" in proxy else f"http://{proxy}")


def _context(scheme: str, *, trust_env: bool) -> ssl.SSLContext:
    """Whom to trust: the environment's SSL_CERT_FILE or SSL_CERT_DIR, else the usual authorities."""
    if scheme == "https":
        return httpx.create_ssl_context(trust_env=trust_env)
    # Reading the authorities takes time. Nothing is encrypted here, so this one trusts nobody.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
