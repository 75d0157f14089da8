"""HTTP exchanges with limits of time and size; the result is always a value, also after an error."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx

from orchestrator.cloud.transport import Carrier
from orchestrator.cloud.unpack import Unpacker, UnpackError

MEBIBYTE = 1 << 20
LARGEST_ANSWER = 64 * MEBIBYTE
"""Bytes; a larger answer is cut off and counts as unreadable."""
MOST_VALUES = 2_000_000
"""Values in one answer: objects, lists and their entries. The list of an app with 10,000 CVMs has 900,000."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
"""JSON string literals."""

MOST_WORDS = 4 * MEBIBYTE
"""The most characters of an error text; the audit log keeps shorter texts whole."""

_NEVER_LEFT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Result of a request.

    Attributes:
        status: the status code; None without the head of an answer.
        headers: headers of the answer, with names in lower case.
        body: body of the answer, parsed as JSON with exact decimals; None if the body can't be parsed.
        text: the beginning of the body as text, if the body is not JSON.
        problem: a transport problem in words; None after a complete answer.
        sent: False if no connection could be made.
        latency: duration of the exchange in seconds.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str = ""
    problem: str | None = None
    sent: bool = True
    latency: float = 0.0


SIMULATED = "x-simulated"
"""Header in every answer of a simulated cloud."""


class Http:
    """Sends requests to a single base URL, without redirects and cookies.

    Attributes:
        simulated: whether an answer came from a simulated cloud.
    """

    def __init__(self, carrier: Carrier, timeout: float, *, now: Callable[[], float] = time.monotonic) -> None:
        """Set up.

        Args:
            carrier: carries the requests.
            timeout: seconds for one exchange, from connecting to the last byte.
            now: the clock that measures latencies, in seconds.
        """
        self._now = now
        self._carrier = carrier
        self._timeout = timeout
        self.simulated = False

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, int | str] | None = None,
        body: object = None,
        largest: int = LARGEST_ANSWER,
    ) -> Exchange:
        """Send a request. A fault of the server or the network is a value in the `Exchange`, never an exception."""
        started = self._now()
        status: int | None = None
        headers: dict[str, str] = {}
        data = bytearray()
        problem, sent = None, True
        content = None if body is None else json.dumps(body).encode()
        if params:
            path = f"{path}?{urlencode(params)}"
        try:
            with anyio.move_on_after(self._timeout) as time_limit:
                response = await self._carrier.send(method, path, content)
                status, headers = response.status_code, _collect_headers(response)
                self.simulated = self.simulated or SIMULATED in headers
                if not await _read_body(response, data, largest, headers.get("content-encoding")):
                    problem = f"the answer is larger than {largest // MEBIBYTE} MiB and was cut off"
        except _NEVER_LEFT as error:
            problem, sent = f"no connection: {_describe_error(error)}", False
        except (TimeoutError, httpx.TimeoutException):
            problem = self._too_late(status)
        except UnpackError as error:
            problem = str(error)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            problem = f"the connection broke: {_describe_error(error)}"
        else:
            if time_limit.cancelled_caught:
                problem = self._too_late(status)
        if not problem and has_too_many_values(data):
            problem = f"the answer has more than {MOST_VALUES:,} values and was not read"
        parsed, text = (None, "") if problem else _parse_body(data)
        return Exchange(
            status=status,
            headers=headers,
            body=parsed,
            text=text,
            problem=problem,
            sent=sent,
            latency=self._now() - started,
        )

    def _too_late(self, status: int | None) -> str:
        return f"no {'whole ' if status else ''}answer within {self._timeout:g}s"


def _collect_headers(response: httpx.Response) -> dict[str, str]:
    """Collect the headers by name in lower case; join repeated headers, and escape invalid UTF-8 bytes."""
    headers: dict[str, str] = {}
    for name, value in response.headers.raw:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "backslashreplace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _read_body(response: httpx.Response, data: bytearray, largest: int, encoding: str | None) -> bool:
    """Read the body into `data`; return False if the body is too large.

    Raises:
        UnpackError: when a packed body is damaged or incomplete.
    """

    def take_piece(piece: bytes) -> bool:
        data.extend(piece)
        return len(data) <= largest

    # httpx's own iterator is slow, and accepts a packed body without its end as complete.
    stream = response.stream
    chunks = stream if isinstance(stream, httpx.AsyncByteStream) else response.aiter_raw()
    whole = False
    try:
        unpacker = None if encoding is None else Unpacker(encoding)
        async for chunk in chunks:
            if not (take_piece(chunk) if unpacker is None else unpacker.feed(chunk, take_piece)):
                return False
        if unpacker is not None:
            unpacker.finish()
        whole = True
    finally:
        if whole:
            await response.aclose()
        else:
            with anyio.CancelScope(shield=True):
                await response.aclose()
    return True


def has_too_many_values(data: bytes | bytearray) -> bool:
    """Whether JSON has more values than allowed, counted without parsing: a parsed `{}` takes 30 times its length."""

    def count_marks(text: bytes | bytearray) -> int:
        return sum(map(text.count, (b"{", b"[", b",")))

    # Strings may contain these marks, too. Removing the strings takes longer, so the second count does this.
    return count_marks(data) > MOST_VALUES and count_marks(_STRINGS.sub(b"", data)) > MOST_VALUES


def _describe_error(error: Exception) -> str:
    return str(error) or type(error).__name__


def _parse_body(data: bytearray) -> tuple[Any, str]:
    """Parse the body as JSON, or decode a body without valid JSON as text."""
    try:
        return _JSON.decode(data.decode(json.detect_encoding(data), "surrogatepass")), ""
    except (ValueError, ArithmeticError, RecursionError):
        # For example, a number with an exponent too large for Decimal.
        return None, data[: 4 * MOST_WORDS].decode("utf-8", "replace")[:MOST_WORDS]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)
