"""Convert an HTTP exchange to a `Reply`, with errors in the API's own words.

Errors come as FastAPI's `{"detail": …}` (a list of `loc`, `msg` on 422), or as a structured body with `error_code`,
`message` and `suggestions`. A proxy may answer an error in any form.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

from orchestrator.cloud.http import MOST_WORDS, Exchange
from orchestrator.cloud.wire import ShapeError
from orchestrator.reply import Reply

_T = TypeVar("_T")
_MOST_FINDINGS = 20
_NO_WORDS = "no error text"
_MOST_OF_AN_ID = 200


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
            problem = _describe_error(exchange)
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


def _describe_error(exchange: Exchange) -> str:
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
