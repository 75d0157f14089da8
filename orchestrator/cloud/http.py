"""HTTP exchanges with limits of time and size; the result is always a value, also after an error.

`make_reply` converts an exchange to a `Reply`, with errors in the API's own words. Errors come as FastAPI's
`{"detail": …}` (a list of `loc`, `msg` on 422), or as a structured body with `error_code`, `message` and
`suggestions`. A proxy may answer an error in any form.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import anyio
import httpx

from orchestrator.cloud.transport import Carrier, NotPermittedError
from orchestrator.cloud.unpack import Unpacker, UnpackError
from orchestrator.cloud.wire import ShapeError
from orchestrator.reply import Reply
from orchestrator.value_class import value_class

if TYPE_CHECKING:  # files have no permit
    from orchestrator.permit import SendPermit

MEBIBYTE = 1 << 20
LARGEST_ANSWER = 64 * MEBIBYTE
"""Bytes; a larger answer is cut off and counts as unreadable."""
MOST_VALUES = 2_000_000
"""Values in one answer: objects, lists and their entries. The list of an app with 10,000 CVMs has 900,000."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
"""JSON string literals."""

MOST_WORDS = 4 * MEBIBYTE
"""The most characters of an error text; the audit log keeps shorter texts whole."""

_T = TypeVar("_T")
_MOST_FINDINGS = 20
_NO_WORDS = "no error text"
_MOST_OF_AN_ID = 200

NOT_PERMITTED = "this process had lost the right to send requests of the run, or was about to"

_NEVER_LEFT = (
    NotPermittedError,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@value_class(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Result of a request.

    Attributes:
        status: the status code; None without the head of an answer.
        headers: headers of the answer, with names in lower case.
        body: body of the answer, parsed as JSON with exact decimals; None if the body can't be parsed.
        text: the beginning of the body as text, if the body is not JSON.
        problem: a transport problem in words; None after a complete answer.
        sent: False if no connection could be made, or if the permit refused.
        permitted: False if the permit refused.
        latency: duration of the exchange in seconds.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    text: str = ""
    problem: str | None = None
    sent: bool = True
    permitted: bool = True
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
        permit: "SendPermit | None" = None,
    ) -> Exchange:
        """Send a request. A fault of the server or the network is a value in the `Exchange`, never an exception.

        A request refused by the permit waits for the permit, and is not sent: its turn by the rate limit has passed.
        """
        started = self._now()
        if permit is not None and not permit.may_send():
            await permit.wait()
            return Exchange(problem=NOT_PERMITTED, sent=False, permitted=False, latency=self._now() - started)
        status: int | None = None
        headers: dict[str, str] = {}
        data = bytearray()
        problem, sent, permitted = None, True, True
        content = None if body is None else json.dumps(body).encode()
        if params:
            path = f"{path}?{urlencode(params)}"
        time_limit = anyio.move_on_after(self._timeout)
        try:
            with time_limit:
                response = await self._carrier.send(method, path, content, permit)
                status, headers = response.status_code, _collect_headers(response)
                self.simulated = self.simulated or SIMULATED in headers
                if not await _read_body(response, data, largest, headers.get("content-encoding")):
                    problem = f"the answer is larger than {largest // MEBIBYTE} MiB and was cut off"
        except _NEVER_LEFT as error:
            permitted, sent = not isinstance(error, NotPermittedError), False
            problem = f"no connection: {_describe_error(error)}" if permitted else NOT_PERMITTED
        except (TimeoutError, httpx.TimeoutException):
            problem = self._too_late(status)
        except UnpackError as error:
            problem = str(error)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            problem = f"the connection broke: {_describe_error(error)}"
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
            permitted=permitted,
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
            if unpacker is None:
                data += chunk
                is_taken = len(data) <= largest
            else:
                is_taken = unpacker.feed(chunk, take_piece)
            if not is_taken:
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
    if sum(map(data.count, _MARKS)) <= MOST_VALUES:
        return False
    # Strings may contain these marks, too. Removing the strings takes longer, so the second count does this.
    return sum(map(_STRINGS.sub(b"", data).count, _MARKS)) > MOST_VALUES


_MARKS = (b"{", b"[", b",")


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


def make_reply(exchange: Exchange, parse: Callable[[Any], _T], now: datetime) -> Reply[_T]:
    """Convert an exchange to a reply.

    Args:
        exchange: the exchange.
        parse: reads the body of a success; raises `ShapeError` for an unreadable body.
        now: the time of day; the reference for a Retry-After date if the answer has no Date header.
    """
    value, problem = None, exchange.problem
    if problem is None and exchange.status is not None:
        if not HTTPStatus.OK <= exchange.status < HTTPStatus.MULTIPLE_CHOICES:
            problem = _describe_http_error(exchange)
        elif exchange.body is None:
            problem = f"HTTP {exchange.status}: the body is not JSON: {exchange.text or '(empty)'}"
        else:
            try:
                value = parse(exchange.body)
            except ShapeError as error:
                problem = f"HTTP {exchange.status}: can't read the body: {error}"
    elif problem is not None and exchange.status is not None:
        problem = f"HTTP {exchange.status}, but {problem}"
    code = None if problem is None else _read_error_code(exchange.body)
    return Reply(
        value=value,
        http_status=exchange.status,
        sent=exchange.sent,
        permitted=exchange.permitted,
        problem=None if problem is None else _cut_text(problem, MOST_WORDS),
        error_code=None if code is None else _cut_text(code, _MOST_OF_AN_ID),
        retry_after=_read_retry_after(exchange, now),
        request_id=_read_request_id(exchange),
        latency=exchange.latency,
        is_json=exchange.body is not None,
    )


def seconds_ahead(exchange: Exchange, now: datetime) -> float | None:
    """Compute the server clock's lead in seconds from the Date header; the header has whole seconds.

    Args:
        exchange: the exchange.
        now: the time of day after the exchange.
    """
    date = _parse_date(exchange.headers.get("date", ""))
    return None if date is None else (date - now).total_seconds() + 0.5 + exchange.latency / 2


def _describe_http_error(exchange: Exchange) -> str:
    """Describe an error by its status and the API's own words."""
    status = exchange.status or 0
    location = exchange.headers.get("location")
    if location is not None and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"HTTP {status}: redirect to {location} not followed"
    words = _read_error_text(exchange.body) or exchange.text.strip()
    code = _read_error_code(exchange.body)
    return f"HTTP {status}{f' {code}' if code else ''}: {words or _find_status_phrase(status)}"


def _find_status_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return _NO_WORDS


def _list_layers(body: object) -> Iterator[dict[str, Any]]:
    """Yield the body of an error, and the structured error in its `detail`, if present."""
    for _ in range(2):
        if not isinstance(body, dict):
            return
        yield body
        body = body.get("detail")


def _read_error_text(body: object) -> str:
    return next(filter(None, map(_read_layer_text, _list_layers(body))), "")


def _read_layer_text(body: dict[str, Any]) -> str:
    message = body.get("message")
    if isinstance(message, str) and message:
        advice = body.get("suggestions")
        words = [each for each in advice if isinstance(each, str)] if isinstance(advice, list) else []
        return " ".join([message, *words])
    detail = body.get("detail")
    if isinstance(detail, list):
        return "; ".join(_describe_finding(each) for each in detail[:_MOST_FINDINGS])
    return detail if isinstance(detail, str) else ""


def _describe_finding(each: object) -> str:
    if not isinstance(each, dict):
        return each if isinstance(each, str) else _NO_WORDS
    place = each.get("loc")
    parts = place if isinstance(place, list) else []
    where = ".".join(str(part) for part in parts if isinstance(part, str | int))
    words = _read_string(each.get("msg")) or _NO_WORDS
    return f"{where}: {words}" if where else words


def _read_error_code(body: object) -> str | None:
    return next(filter(None, (_read_string(each.get("error_code")) for each in _list_layers(body))), None)


def _read_request_id(exchange: Exchange) -> str | None:
    header = exchange.headers.get("x-request-id")
    found = header or next(
        filter(None, (_read_string(each.get("request_id")) for each in _list_layers(exchange.body))), None
    )
    return None if found is None else _cut_text(found, _MOST_OF_AN_ID)


def _read_string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _cut_text(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _read_retry_after(exchange: Exchange, now: datetime) -> float | None:
    """Read the Retry-After header, a number of seconds or an HTTP date; return seconds to wait."""
    value = exchange.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    moment = _parse_date(value)
    if moment is None:
        return None
    # Compare with the server's own Date header, so a wrong clock on this machine does not matter.
    reference = _parse_date(exchange.headers.get("date", "")) or now
    return max(0.0, (moment - reference).total_seconds())


def _parse_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
