"""The way to a webhook: one POST, bounded in time, whose URL is a secret and stands in no text that leaves here."""

import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from orchestrator import __version__
from orchestrator.cloud.transport import proxy_for
from orchestrator.loopback import is_loopback
from orchestrator.notify.notice import Notice
from orchestrator.notify.retry import Answer

_MOST_OF_AN_ANSWER = 4096
"""Bytes that are kept of an answer."""
_PATIENCE = 2.0
"""Seconds for the words of an answer, once its status is known."""
_WORD = re.compile(r"[a-z_]{2,40}")
"""What Slack says of a message that it does not take, such as `channel_not_found`."""
_LONGEST_WAIT = 86_400.0

Write = Callable[[Notice], bytes]
Head = Callable[[str, bytes], Mapping[str, str]]


class WebhookPost:
    """Posts to one URL and to no other place: redirects are not followed, cookies not kept."""

    def __init__(
        self,
        url: str,
        write: Write,
        head: Head,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Set up.

        Args:
            url: where to.
            write: makes the body of a notice.
            head: makes the headers for a notice's id and its body.
            timeout: seconds for one attempt.
            transport: another way than sockets, for tests.
        """
        self._url, self._write, self._head, self._timeout, self._transport = url, write, head, timeout, transport
        self._client: httpx.AsyncClient | None = None

    def __repr__(self) -> str:
        return f"<WebhookPost within {self._timeout:g}s>"

    async def __call__(self, notice: Notice) -> Answer:
        """Post a notice once. Never raises for what the other side, or the network, did."""
        body = self._write(notice)
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"orchestrator/{__version__}",
            **self._head(notice.id, body),
        }
        try:
            with anyio.fail_after(self._timeout):
                client = self._client = self._client or await self._connected()
                async with client.stream("POST", self._url, content=body, headers=headers) as response:
                    return _answer(response, b"" if response.is_success else await _beginning(response))
        except (TimeoutError, httpx.TimeoutException):
            return Answer(None, problem=f"no answer within {self._timeout:g}s")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
            return Answer(None, problem=f"no connection: {self._without_url(str(error) or type(error).__name__)}")

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _connected(self) -> httpx.AsyncClient:
        """A client; through the proxies of the environment where it is another machine, as the cloud's client does."""
        outside = not is_loopback(urlsplit(self._url).hostname or "")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, for what is not encrypted
        if self._url.startswith("https:"):
            # In a thread: reading the authorities takes time that the run's own requests need.
            context = await anyio.to_thread.run_sync(lambda: httpx.create_ssl_context(trust_env=outside))
        proxy = proxy_for(self._url) if self._transport is None else None
        return httpx.AsyncClient(
            verify=context,
            trust_env=False,
            proxy=None if proxy is None else proxy.url,
            transport=self._transport,
            timeout=httpx.Timeout(self._timeout),
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
        )

    def _without_url(self, words: str) -> str:
        for part in {self._url, *re.split(r"[/?&=]", self._url.partition("//")[2].partition("/")[2])}:
            if len(part) > 3:  # noqa: PLR2004 - shorter parts are words of their own
                words = words.replace(part, "…")
        return words[:300]


async def _beginning(response: httpx.Response) -> bytes:
    if "content-encoding" in response.headers:
        return b""  # it was asked for plain, and a bomb need not go off
    data = bytearray()
    with anyio.move_on_after(_PATIENCE):
        async for chunk in response.aiter_bytes():
            data += chunk[: max(0, _MOST_OF_AN_ANSWER - len(data))]
    return bytes(data)


def _answer(response: httpx.Response, body: bytes) -> Answer:
    """What a response means; of its body only a single word is repeated, for it may hold anything."""
    status = response.status_code
    said = body.decode("ascii", "replace").strip()
    words = said if _WORD.fullmatch(said) else _phrase(status)
    return Answer(status, _retry_after(response.headers), "" if response.is_success else f"HTTP {status} {words}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "of no known meaning"


def _retry_after(headers: httpx.Headers) -> float | None:
    """The seconds of a Retry-After, which may be a number or a date; None where there is none that makes sense."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):
        return min(float(text), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
        return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), _LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        return None
