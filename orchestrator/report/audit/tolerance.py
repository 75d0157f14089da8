"""Tolerant views of events, for stories and exports: a field may be missing, or have any JSON value."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.audit.events import (
    AnyEvent,
    LogEvent,
    PlannedTarget,
    RecordView,
    RunPlanned,
    StepPlanned,
    TargetEvent,
    UnknownEvent,
    read_event,
)
from orchestrator.audit.record import Record


class _TolerantRecord(dict[str, Any]):
    """Record with None in place of a missing field, so that a required field reads as None."""

    def __missing__(self, key: str) -> None:
        return None


def read_tolerantly(record: Record) -> AnyEvent:
    """View a record of any version as its event."""
    return read_event(_TolerantRecord(record))


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a nested field; empty for any other value."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """Return a list of the log; empty for any other value."""
    return value if isinstance(value, list) else []


def cvm_of(view: RecordView) -> Mapping[str, Any]:
    """Return the CVM of an event or a target as recorded; empty without a CVM."""
    return as_mapping(view.record.get("cvm"))


def view_target_event(event: LogEvent) -> TargetEvent | None:
    """View an event about a CVM, also an event of a later version; None for any other event."""
    if not cvm_of(event):
        return None
    if isinstance(event, TargetEvent):
        return event
    return TargetEvent(event.record) if isinstance(event, UnknownEvent) else None


def list_targets(event: RunPlanned | StepPlanned) -> Iterator[PlannedTarget]:
    """Yield the readable targets of a plan."""
    for target in as_list(event.record.get("targets")):
        if isinstance(target, Mapping):
            yield PlannedTarget(_TolerantRecord(target))
