"""From an HTTP exchange to a `Reply`: what the answer says, in the API's own words.

Errors come as FastAPI's `{"detail": …}` (a list of `loc`, `msg` on 422), or as a structured body with `error_code`,
`message` and `suggestions`; through proxies also as anything at all.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeVar

from orchestrator.cloud.http import Exchange
from orchestrator.cloud.wire import ShapeError
from orchestrator.reply import Reply

_T = TypeVar("_T")


def reply_of(exchange: Exchange, parse: Callable[[Any], _T], now: datetime) -> Reply[_T]:
    """The reply that an exchange gives.

    Args:
        exchange: what happened.
        parse: reads the body of a success; raises `ShapeError` when it can't.
        now: the time of day, against which a Retry-After date is read where the answer has no Date of its own.
    """
    value, problem = None, exchange.problem
    if problem is None and exchange.status is not None:
        if not HTTPStatus.OK <= exchange.status < HTTPStatus.MULTIPLE_CHOICES:
            problem = _error(exchange)
        elif exchange.body is None:
            problem = f"HTTP {exchange.status} whose body is not JSON: {exchange.text or '(empty)'}"
        else:
            try:
                value = parse(exchange.body)
            except ShapeError as error:
                problem = f"HTTP {exchange.status} whose body can't be read: {error}"
    elif problem is not None and exchange.status is not None:
        problem = f"HTTP {exchange.status}, but {problem}"
    return Reply(
        value=value,
        http_status=exchange.status,
        sent=exchange.sent,
        problem=problem,
        error_code=_code(exchange.body),
        retry_after=_retry_after(exchange, now),
        request_id=_request_id(exchange),
        latency=exchange.latency,
    )


def _error(exchange: Exchange) -> str:
    """An error's status and the API's own words."""
    status = exchange.status or 0
    location = exchange.headers.get("location")
    if location is not None:
        return f"HTTP {status}: a redirect to {location}, which is not followed"
    words = _words(exchange.body) or exchange.text.strip()
    code = _code(exchange.body)
    return f"HTTP {status}{f' {code}' if code else ''}: {words or _phrase(status)}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no further words"


def _words(body: object) -> str:
    if not isinstance(body, dict):
        return ""
    message = body.get("message")
    if isinstance(message, str) and message:
        advice = body.get("suggestions")
        words = [each for each in advice if isinstance(each, str)] if isinstance(advice, list) else []
        return " ".join([message, *words])
    detail = body.get("detail")
    if isinstance(detail, list):
        return "; ".join(_finding(each) for each in detail)
    if isinstance(detail, dict):
        return _words(detail)
    return detail if isinstance(detail, str) else ""


def _finding(each: object) -> str:
    if not isinstance(each, dict):
        return str(each)
    place = each.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {each.get('msg')}" if where else str(each.get("msg"))


def _code(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    code = body.get("error_code")
    if isinstance(code, str) and code:
        return code
    return _code(body.get("detail"))


def _request_id(exchange: Exchange) -> str | None:
    header = exchange.headers.get("x-request-id")
    if header:
        return header
    body = exchange.body
    found = body.get("request_id") if isinstance(body, dict) else None
    return found if isinstance(found, str) else None


def _retry_after(exchange: Exchange, now: datetime) -> float | None:
    """Seconds to wait by the Retry-After header, which is a number of them or an HTTP date."""
    value = exchange.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    moment = _date(value)
    if moment is None:
        return None
    # The server's own Date, so that a clock that is off on this side does not matter.
    reference = _date(exchange.headers.get("date", "")) or now
    return max(0.0, (moment - reference).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
