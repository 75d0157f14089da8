"""One HTTP exchange: sent, bounded in time and size, and given back as a value, whatever happened."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import anyio
import httpx

MEBIBYTE = 1 << 20
LARGEST_ANSWER = 64 * MEBIBYTE
"""Bytes; an answer beyond this is cut off and counts as one that can't be read."""

MOST_WORDS = 4 * MEBIBYTE
"""Characters of the words of an error; the audit log keeps them whole up to this."""

_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one request came to.

    Attributes:
        status: the status code; None when no head of an answer came.
        headers: of the answer, names in lower case.
        body: of the answer, parsed as JSON with exact decimals; None when it can't be.
        text: the beginning of the body as text when it is not JSON.
        problem: what went wrong on the way, in words; None when the answer came whole.
        sent: False when no connection could be made.
        latency: seconds.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str = ""
    problem: str | None = None
    sent: bool = True
    latency: float = 0.0


class Http:
    """Sends requests to one base URL, and to no other place: redirects are not followed."""

    def __init__(self, client: httpx.AsyncClient, timeout: float) -> None:
        """Set up.

        Args:
            client: with base URL and headers set.
            timeout: seconds for one exchange from connecting to the last byte.
        """
        self._client = client
        self._timeout = timeout

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, int] | None = None,
        body: object = None,
        largest: int = LARGEST_ANSWER,
    ) -> Exchange:
        """Send one request. Never raises for what the other side, or the network, did."""
        started = time.monotonic()
        status: int | None = None
        headers: dict[str, str] = {}
        data = bytearray()
        problem, sent = None, True
        try:
            with anyio.fail_after(self._timeout):
                content = None if body is None else json.dumps(body).encode()
                request = self._client.build_request(method, path, params=params, content=content)
                if content is not None:
                    request.headers["content-type"] = "application/json"
                response = await self._client.send(request, stream=True)
                status, headers = response.status_code, dict(response.headers)
                try:
                    async for chunk in response.aiter_bytes():
                        data += chunk
                        if len(data) > largest:
                            problem = f"the answer is larger than {largest // MEBIBYTE} MiB and was cut off"
                            break
                finally:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except _NEVER_LEFT as error:
            problem, sent = f"no connection: {_words(error)}", False
        except (TimeoutError, httpx.TimeoutException):
            problem = f"no {'whole ' if status else ''}answer within {self._timeout:g}s"
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            problem = f"the connection broke: {_words(error)}"
        parsed, text = (None, "") if problem else _parse(bytes(data))
        return Exchange(
            status=status,
            headers=headers,
            body=parsed,
            text=text,
            problem=problem,
            sent=sent,
            latency=time.monotonic() - started,
        )


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parse(data: bytes) -> tuple[Any, str]:
    """The body as JSON, or as text where it is none."""
    try:
        return json.loads(data, parse_float=Decimal, parse_constant=_refuse), ""
    except (ValueError, ArithmeticError, RecursionError):
        # Among them: a number whose exponent no Decimal can hold.
        return None, data[: 4 * MOST_WORDS].decode("utf-8", "replace")[:MOST_WORDS]


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
