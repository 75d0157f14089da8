"""Read statuses: of many CVMs, of one CVM, as a stream, and the operations of one CVM."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from orchestrator.simulator import refusals
from orchestrator.simulator.operations.call import ApiReply, Call, StateWatch
from orchestrator.simulator.wire import shared

_SHARE_LEFT_OUT = 0.2


class BatchStatus(BaseModel):
    """The body of a status batch: UUIDs, with or without dashes."""

    vm_uuids: list[str]


class StateQuery(BaseModel):
    """The query of a state; a target makes the state a stream, with interval and timeout in seconds."""

    target: str | None = None
    interval: Annotated[int, Field(ge=5, le=30)] = 5
    timeout: Annotated[int, Field(ge=10, le=600)] = 300


class OperationsQuery(BaseModel):
    """The operations of a CVM to list, by cursor, time of start and type."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    start_time: datetime | None = None
    end_time: datetime | None = None
    operation_types: list[str] | None = None


def status_batch(call: Call) -> ApiReply:
    """The statuses of many CVMs by UUID; unknown UUIDs are left out."""
    asked = call.body.vm_uuids
    cap = call.settings.faults.batch_cap
    if cap is not None and len(asked) > cap:
        message = f"List should have at most {cap} items after validation, not {len(asked)}"
        raise refusals.invalid_request([{"loc": ["body", "vm_uuids"], "msg": message, "type": "too_long"}])
    if call.fault == "batch_missing":
        raise refusals.without_code(404, "Not Found")
    view = call.lagged_view
    found = [cvm for uuid in asked if (cvm := call.world.find_by_uuid(uuid, view.at)) is not None]
    if call.fault == "missing_uuids" and found:
        left_out = max(1, round(len(found) * _SHARE_LEFT_OUT))
        lost = set(call.make_random().sample(range(len(found)), left_out))
        found = [cvm for index, cvm in enumerate(found) if index not in lost]
    return ApiReply({str(view.uuid_of(cvm)): shared.cvm_status(view, cvm) for cvm in found})


def cvm_state(call: Call) -> ApiReply:
    """The state of a CVM now, or a stream of states until the CVM has the target status."""
    cvm = call.find_cvm(at=call.lagged_view.at)
    query: StateQuery = call.query
    if query.target is None:
        return ApiReply(shared.cvm_state(call.lagged_view, cvm))
    return ApiReply(None, watch=StateWatch(cvm, query.target, query.interval, query.timeout))


def cvm_operations(call: Call) -> ApiReply:
    """The operations of a CVM, latest first."""
    cvm = call.find_cvm()
    query: OperationsQuery = call.query
    calendar = call.world.calendar_time
    chosen = [
        operation
        for operation in reversed(cvm.operations)
        if (query.start_time is None or calendar(operation.started) >= _as_utc(query.start_time))
        and (query.end_time is None or calendar(operation.started) <= _as_utc(query.end_time))
        and (not query.operation_types or operation.type in query.operation_types)
    ]
    first = _decode_cursor(query.cursor)
    last = first + query.limit
    body: dict[str, Any] = {
        "items": [shared.operation_entry(call.current_view, cvm, operation) for operation in chosen[first:last]],
        "next_cursor": _encode_cursor(last) if last < len(chosen) else None,
        "total": len(chosen),
    }
    return ApiReply(body)


def operation_status(call: Call) -> ApiReply:
    """The operation in progress on a CVM."""
    return ApiReply(shared.operation_status(call.current_view, call.find_cvm()))


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _encode_cursor(position: int) -> str:
    return urlsafe_b64encode(f"o:{position}".encode()).decode()


def _decode_cursor(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        return int(urlsafe_b64decode(cursor.encode()).decode().removeprefix("o:"))
    except (Base64Error, ValueError) as error:
        problem = {"loc": ["query", "cursor"], "msg": "Invalid cursor", "type": "value_error"}
        raise refusals.invalid_request([problem]) from error
