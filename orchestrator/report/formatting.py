"""Money and moments of a report in words, the same in every format."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from orchestrator.billing.rates import HOURS_PER_MONTH
from orchestrator.duration import format_duration


def format_dollars(amount: str | Decimal | None) -> str:
    """Format an amount to the cent, such as `$1,234.50`. Sums are rounded only here."""
    if amount is None:
        return "not known"
    exact = Decimal(amount)
    return f"{'-' if exact < 0 else ''}${abs(exact):,.2f}"


def per_hour(sums: Mapping[str, Any] | None, kind: str) -> str:
    """Format a rate of `compute` or `storage`, such as `$1.1600`, and the number of CVMs with an unknown rate."""
    if sums is None:
        return "-"
    unknown = sums[f"{kind}_unknown"]
    amount = f"${Decimal(sums[f'known_{kind}_usd_per_hour']):,.4f}"
    return f"{amount} and {unknown} not known" if unknown else amount


def rate_words(sums: Mapping[str, Any], kind: str) -> str:
    """Format a rate for an hour and a month, such as `$1.1600/h, $846.80 a month`, and the number of unknown rates."""
    amount = f"${Decimal(sums[f'known_{kind}_usd_per_hour']):,.4f}/h, {per_month(sums, kind)} a month"
    unknown = sums[f"{kind}_unknown"]
    return f"{amount}, {unknown} not known" if unknown else amount


def per_month(sums: Mapping[str, Any], kind: str) -> str:
    """Format the rate for a month of 730 hours, to the cent."""
    return format_dollars(Decimal(sums[f"known_{kind}_usd_per_hour"]) * HOURS_PER_MONTH)


def after(seconds: float | None) -> str:
    """Format a duration; a dash for a missing duration."""
    return "-" if seconds is None else format_duration(seconds)


def between(start: float | None, end: float | None) -> str:
    """Format the time between two timestamps; a dash where a timestamp is missing."""
    return "-" if start is None or end is None else format_duration(max(0.0, round(end - start, 3)))


def moment(ts: str | None) -> str:
    """Format a timestamp of the log to the second, such as `2026-11-23 16:32:53 UTC`."""
    return "-" if ts is None else f"{ts[:10]} {ts[11:19]} UTC"


def size(count: int) -> str:
    """Format a number of bytes, with separators."""
    return f"{count:,} bytes"
