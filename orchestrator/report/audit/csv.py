"""Audit records as table rows for spreadsheets, with a column for every varying field.

No cell can be read as a formula, and no cell holds an invisible character.
"""

from collections.abc import Mapping

from orchestrator.audit.record import Record
from orchestrator.report.audit.phrases import sentence
from orchestrator.report.audit.story import of_cvm
from orchestrator.report.cells import cell

COLUMNS = (
    *("run_id", "seq", "ts", "event", "what", "step", "action", "cvm", "cvm_id", "app_id", "teepod"),
    *("attempt", "batch", "status", "outcome", "seconds", "reason", "http_status", "request_id", "latency_ms"),
    *("retry_after_s", "observed", "compute_usd_per_hour", "storage_usd_per_hour", "notes", "charged_usd"),
    *("expected_usd", "state", "exit_code", "by", "hash"),
)


def row(record: Record) -> list[str]:
    """Format a record as a row, in the order of `COLUMNS`."""
    cvm, note = of_cvm(record), _find_part(record, "billing")
    notes = note.get("notes")
    found: dict[str, object] = {
        **{name: record.get(name) for name in COLUMNS},
        "what": sentence(record),
        "cvm": cvm.get("name"),
        "cvm_id": cvm.get("id") or cvm.get("vm_uuid"),
        "app_id": cvm.get("app_id"),
        "teepod": cvm.get("teepod"),
        "compute_usd_per_hour": note.get("compute_usd_per_hour"),
        "storage_usd_per_hour": note.get("storage_usd_per_hour"),
        "notes": " ".join(map(str, notes)) if isinstance(notes, list) else None,
        "charged_usd": _find_part(record, "charged").get("usd"),
        "expected_usd": _find_part(record, "expected").get("usd"),
        "by": record.get("by") or record.get("actor"),
    }
    return [cell(found[name]) for name in COLUMNS]


def _find_part(record: Record, key: str) -> Mapping[str, object]:
    part = record.get(key)
    return part if isinstance(part, Mapping) else {}
