"""Read the operation history of a CVM leniently. Source: the vendor's OpenAPI document."""

from datetime import UTC, datetime
from typing import Any

from orchestrator.cloud.wire import ShapeError
from orchestrator.reply import OperationRecord, OperationsPage

_LONGEST = 200
"""The most characters of an id or a word."""


def read_operations(body: Any, ahead: float | None) -> OperationsPage:  # noqa: ANN401 - parsed JSON
    """Read a page of the operation history, newest first.

    Args:
        body: the body of the answer.
        ahead: seconds by which the server's clock is ahead; None if unknown.
    """
    items = body.get("items") if isinstance(body, dict) else None
    if not isinstance(items, list):
        raise ShapeError("a page of operations has no list `items`")
    return OperationsPage(tuple(map(_read_operation, items)), ahead)


def _read_operation(item: Any) -> OperationRecord:  # noqa: ANN401 - parsed JSON
    if not isinstance(item, dict):
        raise ShapeError("an operation is not a JSON object")
    correlation_id = _read_text(item.get("correlation_id"))
    if not correlation_id:
        raise ShapeError("an operation has no `correlation_id`")
    by = item.get("triggered_by")
    name = _read_text(item.get("triggered_by_username"))
    return OperationRecord(
        correlation_id=correlation_id,
        kind=_read_text(item.get("operation_type")),
        target=_read_text(item.get("target_state")).lower(),
        by=name if name and "@" not in name else (str(by) if isinstance(by, int) else None),
        started_at=_read_moment(item.get("started_at")),
    )


def _read_text(value: object) -> str:
    return value.strip()[:_LONGEST] if isinstance(value, str) else ""


def _read_moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(_read_text(value).upper())
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
