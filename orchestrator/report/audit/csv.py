"""Audit records as table rows for spreadsheets, with a column for every varying field.

No cell can be read as a formula, and no cell holds an invisible character.
"""

from orchestrator.audit.record import Record
from orchestrator.report.audit.phrases import describe_event
from orchestrator.report.audit.tolerance import as_mapping, cvm_of, read_tolerantly
from orchestrator.report.cells import cell

COLUMNS = (
    *("run_id", "seq", "ts", "event", "what", "step", "action", "cvm", "cvm_id", "app_id", "teepod"),
    *("attempt", "batch", "status", "outcome", "seconds", "reason", "http_status", "request_id", "latency_ms"),
    *("retry_after_s", "observed", "compute_usd_per_hour", "storage_usd_per_hour", "notes", "charged_usd"),
    *("expected_usd", "state", "exit_code", "by", "hash"),
)


def format_row(record: Record) -> list[str]:
    """Format a record as a row, in the order of `COLUMNS`. Columns copy the fields with their names."""
    event = read_tolerantly(record)
    cvm, note = cvm_of(event), as_mapping(record.get("billing"))
    notes = note.get("notes")
    found: dict[str, object] = {
        **{name: record.get(name) for name in COLUMNS},
        "what": describe_event(event),
        "cvm": cvm.get("name"),
        "cvm_id": cvm.get("id") or cvm.get("vm_uuid"),
        "app_id": cvm.get("app_id"),
        "teepod": cvm.get("teepod"),
        "compute_usd_per_hour": note.get("compute_usd_per_hour"),
        "storage_usd_per_hour": note.get("storage_usd_per_hour"),
        "notes": " ".join(map(str, notes)) if isinstance(notes, list) else None,
        "charged_usd": as_mapping(record.get("charged")).get("usd"),
        "expected_usd": as_mapping(record.get("expected")).get("usd"),
        "by": record.get("by") or record.get("actor"),
    }
    return [cell(found[name]) for name in COLUMNS]
