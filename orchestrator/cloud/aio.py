"""Carrier over aiohttp: the answers and errors of httpx, for a fraction of the CPU.

This module turns off some features of aiohttp: cookies, redirects, ~/.netrc, and the second GET after a broken
connection. The module adds a check of every connection before its next use. Without the check, an unrequested answer
on a kept connection would be taken for the answer to the next request.

An error means "nothing was sent" if the error was raised in `_Connector.connect`, before the request is written. The
class of the error does not matter.
"""

import select
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from orchestrator.cloud.transport import IDLE, Destination, NotPermittedError

if TYPE_CHECKING:  # files have no permit
    from orchestrator.permit import SendPermit

_LONGEST_LINE = 65_536
"""The most bytes in one header."""

_JSON = {"Content-Type": "application/json"}


class ThroughAiohttp:
    """Carries requests over kept aiohttp connections; works only with asyncio."""

    def __init__(self, target: Destination, context: ssl.SSLContext) -> None:
        """Set up.

        Args:
            target: the receiver of the requests.
            context: the TLS context with the trusted authorities.
        """
        self._target = target
        self._context = context
        self._session: aiohttp.ClientSession
        base = URL(target.base_url.rstrip("/"), encoded=True)
        self._scheme, self._authority, self._prefix = base.scheme, base.raw_authority, base.raw_path.rstrip("/")

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._context.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            connector=_Connector(self._context, self._target.connections),
            headers=self._target.headers,
            # The caller limits the time of the whole exchange.
            timeout=aiohttp.ClientTimeout(connect=self._target.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            middlewares=(_send_once,),
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(
        self, method: str, path: str, content: bytes | None, permit: "SendPermit | None" = None
    ) -> httpx.Response:
        """Send a request once; see `Carrier`."""
        path, _, query = (self._prefix + path).partition("?")
        url = URL.build(scheme=self._scheme, authority=self._authority, path=path, query_string=query, encoded=True)
        headers = None if content is None else _JSON
        data = content if permit is None else _PermittedBody(content or b"", permit)
        try:
            response = await self._session.request(method, url, headers=headers, data=data, allow_redirects=False)
        except aiohttp.ClientResponseError as error:
            raise httpx.RemoteProtocolError(f"the answer is not HTTP: {error.message}") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, NotPermittedError):
                raise error.__cause__ from None
            raise httpx.ReadError(_describe_error(error)) from error
        except ValueError as error:
            raise httpx.LocalProtocolError(_describe_error(error)) from error
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))


class _PermittedBody(aiohttp.BytesPayload):
    """Body of a request with a permit.

    aiohttp writes head and body together, and here at the latest. No task runs between the permit and the first byte.
    """

    def __init__(self, content: bytes, permit: "SendPermit") -> None:
        super().__init__(content)
        self._permit = permit

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._permit.may_send():
            raise NotPermittedError
        await super().write_with_length(writer, content_length)


class _Body(httpx.AsyncByteStream):
    """Body of an answer, as received over the connection."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        try:
            while chunk := await content.readany():
                yield chunk
        except aiohttp.ClientPayloadError as error:
            raise httpx.RemoteProtocolError(_describe_error(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(_describe_error(error)) from error

    async def aclose(self) -> None:
        """Return the connection to the pool after a complete read, otherwise close the connection."""
        self._response.close()


class _Connector(aiohttp.TCPConnector):
    """Keeps connections; never reuses a closed connection or a connection with unrequested data."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        resolver = aiohttp.ThreadedResolver()
        super().__init__(ssl=context, limit=connections, keepalive_timeout=IDLE, resolver=resolver)
        self._used: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - its parent's
    ) -> Connection:
        try:
            while self._is_stale(connection := await super().connect(req, traces, timeout)):
                connection.close()
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"timeout of {timeout.connect:g}s at {req.url.origin()}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise httpx.ConnectError(_describe_error(error)) from error
        return connection

    def _is_stale(self, connection: Connection) -> bool:
        """Whether a used connection can't be used again."""
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            return True
        if protocol not in self._used:
            self._used.add(protocol)
            return False
        if protocol.should_close:
            return True
        # Unread data has arrived: the end of the connection, or an answer without a request.
        poller = select.poll()
        poller.register(transport.get_extra_info("socket"), select.POLLIN)
        return bool(poller.poll(0))


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once: convert aiohttp's retryable errors into httpx errors."""
    try:
        return await handler(request)
    except aiohttp.ServerDisconnectedError as error:
        raise httpx.RemoteProtocolError("the server closed the connection without an answer") from error
    except aiohttp.ClientOSError as error:
        raise httpx.ReadError(_describe_error(error)) from error


def _describe_error(error: Exception) -> str:
    return str(error) or type(error).__name__
