"""The HTTP transport to a channel: a POST within a time limit. The URL is a secret and appears in no text."""

import re
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from orchestrator import __version__
from orchestrator.cloud.transport import find_proxy
from orchestrator.loopback import is_loopback
from orchestrator.notify.channels.channel import Channel
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import DeliveryResult

_MOST_ANSWER_BYTES = 4096
"""Bytes kept of an answer."""
_BODY_TIMEOUT = 2.0
"""Seconds to read the body of an answer after its status."""
_WORD = re.compile(r"[a-z_]{2,40}")
"""Slack's reason for a refused message, such as `channel_not_found`."""
_LONGEST_WAIT = 86_400.0


class WebhookTransport:
    """Posts notices to a single URL, without redirects and without cookies."""

    def __init__(self, channel: Channel, timeout: float, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Set up; the client opens with the first notice.

        Args:
            channel: the address and the form of its messages.
            timeout: seconds for one attempt.
            transport: replaces sockets in tests.
        """
        self._channel, self._url, self._timeout, self._transport = channel, channel.url, timeout, transport
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<WebhookPost within {self._timeout:g}s>"

    async def __call__(self, notice: Notice) -> DeliveryResult:
        """Post a notice once; failures of the network or the server give a result, not an exception."""
        body = self._channel.write_body(notice)
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"orchestrator/{__version__}",
            **self._channel.write_headers(notice.id, body),
        }
        try:
            with anyio.fail_after(self._timeout):
                client = self._client = self._client or await self._open_client()
                async with client.stream("POST", self._url, content=body, headers=headers) as response:
                    return _read_result(response, b"" if response.is_success else await _read_beginning(response))
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryResult(None, problem=f"no answer within {self._timeout:g}s")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
            return DeliveryResult(None, problem=f"no connection: {self._hide_url(str(error) or type(error).__name__)}")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _open_client(self) -> httpx.AsyncClient:
        """Open a client; addresses beyond this machine use the proxies of the environment, as for the cloud."""
        outside = not is_loopback(urlsplit(self._url).hostname or "")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no certificates: never used over plain HTTP
        if self._url.startswith("https:"):
            # In a thread: loading the certificates would block the run's requests.
            context = await anyio.to_thread.run_sync(lambda: httpx.create_ssl_context(trust_env=outside))
        proxy = find_proxy(self._url) if self._transport is None else None
        return httpx.AsyncClient(
            verify=context,
            trust_env=False,
            proxy=None if proxy is None else proxy.url,
            transport=self._transport,
            timeout=httpx.Timeout(self._timeout),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
        )

    def _hide_url(self, words: str) -> str:
        for part in {self._url, *re.split(r"[/?&=]", self._url.partition("//")[2].partition("/")[2])}:
            if len(part) > 3:  # noqa: PLR2004 - shorter parts may be ordinary words
                words = words.replace(part, "…")
        return words[:300]


async def _read_beginning(response: httpx.Response) -> bytes:
    if "content-encoding" in response.headers:
        return b""  # not decompressed: could be a decompression bomb
    data = bytearray()
    with anyio.move_on_after(_BODY_TIMEOUT):
        async for chunk in response.aiter_bytes():
            data += chunk[: max(0, _MOST_ANSWER_BYTES - len(data))]
    return bytes(data)


def _read_result(response: httpx.Response, body: bytes) -> DeliveryResult:
    """Read the result of a response; its body is quoted only if a single plain word."""
    status = response.status_code
    quoted = body.decode("ascii", "replace").strip()
    problem = f"HTTP {status} {quoted if _WORD.fullmatch(quoted) else _status_phrase(status)}"
    return DeliveryResult(status, _parse_retry_after(response.headers), "" if response.is_success else problem)


def _status_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown status)"


def _parse_retry_after(headers: httpx.Headers) -> float | None:
    """Parse the seconds or the date of a Retry-After; None without a valid value."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):
        return min(float(text), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
        return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), _LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None
