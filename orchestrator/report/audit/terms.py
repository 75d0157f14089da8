"""Common terms in the stories of audit logs: actions, amounts, reasons, durations."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from orchestrator.action import Action
from orchestrator.text import safe_text
from orchestrator.times import format_duration

REASON = 400
"""The most characters shown of a reason, a question or a path."""
ID = 80
"""The most characters shown of a name or an id."""


def verb(action: object) -> str:
    """Return an action as a verb: `stop`, `shut down`."""
    try:
        return Action(str(action)).verb
    except ValueError:
        return safe_text(action, ID)


def format_usd(amount: object) -> str:
    """Format an amount of the log in dollars, with at least two decimals, and more where needed."""
    try:
        value = Decimal(str(amount))
        whole = f"{value:.6f}".rstrip("0")
    except (InvalidOperation, ValueError):
        return safe_text(amount, ID)
    head, _, decimals = whole.partition(".")
    sign, digits = ("-", head[1:]) if head.startswith("-") else ("", head)
    return f"{sign}${digits}.{decimals:0<2}"


def describe_bill(note: Mapping[str, Any]) -> str:
    """Describe the effect of an action on the bill, by the known rates: `compute of $0.12 an hour ends, …`."""
    codes = note.get("notes")
    codes = codes if isinstance(codes, list) else []
    compute, storage = note.get("compute_usd_per_hour"), note.get("storage_usd_per_hour")
    parts = []
    for code, word in (("compute_ends", "ends"), ("compute_begins", "begins")):
        if code in codes:
            parts.append(f"compute {f'of {format_usd(compute)} an hour ' if compute is not None else ''}{word}")
    if "storage_continues" in codes:
        parts.append(f"storage {f'of {format_usd(storage)} an hour ' if storage is not None else ''}is still billed")
    if "gpu_24h_minimum_on_restart" in codes:
        parts.append("a new start is charged a GPU minimum of 24 hours")
    if "gpu_24h_minimum" in codes:
        parts.append("a GPU minimum of 24 hours is charged")
    return ", ".join(parts)


def format_reason(reason: object, http_status: object = None) -> str:
    """Format a reason as `: rented`, without the status code shown elsewhere."""
    if not reason:
        return ""
    return f": {safe_text(str(reason).removeprefix(f'HTTP {http_status}: '), REASON)}"


_FOREVER = 1e15
"""Seconds: longer than any duration in a log."""


def format_seconds(value: object) -> str | None:
    """Format a number of seconds in words; None for any other value."""
    return format_duration(value) if isinstance(value, int | float) and 0 <= value < _FOREVER else None
