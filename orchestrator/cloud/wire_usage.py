"""Read metered usage leniently: an unreadable field must not hide the other fields.

In the vendor's document, costs and minutes are JSON numbers, times are ISO 8601, and the billing period consists of
dates. So a cost may have an exponent, a time may lack its zone (UTC then), and a period may lack its time of day.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.cloud.wire import ShapeError
from orchestrator.cvm import normal_uuid
from orchestrator.reply import UsagePage, UsageRecord

_LARGEST, _LONGEST = 12, 60
"""The largest power of ten, and the most digits and decimal places, of an amount."""

_FRACTION = re.compile(r"[.,](\d+)", re.ASCII)
_SHORTEST = len("2026-11-23T08")


def format_moment(at: datetime) -> str:
    """Format a time for a request, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_usage_page(body: Any, ahead: float | None) -> UsagePage:  # noqa: ANN401 - parsed JSON
    """Read a page of an app's metered usage.

    Args:
        body: the body of the answer.
        ahead: seconds by which the server's clock is ahead; None if unknown.
    """
    if not isinstance(body, dict) or not isinstance(body.get("usage"), list):
        raise ShapeError("a page of usage has no list `usage`")
    total = body.get("total")
    return UsagePage(
        tuple(read_usage_record(each) for each in body["usage"]),
        total if isinstance(total, int) and not isinstance(total, bool) else None,
        ahead,
    )


def read_usage_record(item: Any) -> UsageRecord:  # noqa: ANN401 - parsed JSON
    """Read a usage record."""
    if not isinstance(item, dict):
        raise ShapeError("a usage record is not a JSON object")
    return UsageRecord(
        cvm=normal_uuid(_read_text(item.get("instance_id"))),
        usage_type=_read_text(item.get("usage_type")).lower(),
        event_type=_read_text(item.get("event_type")),
        cost=_read_amount(item.get("cost")),
        minutes=_read_amount(item.get("duration_minutes")),
        at=_read_moment(item.get("timestamp")),
        begin=_read_moment(item.get("billing_start")),
        end=_read_moment(item.get("billing_end")),
        key=_read_text(item.get("billing_key")) or None,
    )


def _read_text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _read_amount(value: object) -> Decimal | None:
    """Read a number; a cost is negative for a refund."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    digits = len(number.as_tuple().digits)
    places = digits - 1 - number.adjusted()
    # A number beyond these bounds is not money, and writing it out could take gigabytes.
    return number if number.adjusted() <= _LARGEST and max(digits, places) <= _LONGEST else None


def _read_moment(value: object) -> datetime | None:
    """Read an ISO 8601 time with or without zone and fraction; None for a date without time and other values."""
    text = _read_text(value).upper().removesuffix(" UTC")
    if len(text) < _SHORTEST:
        return None
    try:
        # Some versions of Python accept at most six digits of a fraction.
        found = datetime.fromisoformat(_FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", text, count=1))
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
