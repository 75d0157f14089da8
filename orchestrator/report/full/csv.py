"""The targets of a report as CSV (RFC 4180), a line for every target, safe to open in a spreadsheet."""

import csv
from collections.abc import Mapping
from io import StringIO
from typing import Any

from orchestrator.report.cells import cell

COLUMNS = {
    "run_id": "the run",
    "step": "the step's name",
    "action": "the step's action",
    "escalated_to": "the action that took its place, if one did",
    "wave": "the wave it was in, if the step had any",
    "cvm_id": "the CVM's hashid",
    "vm_uuid": "its UUID",
    "name": "its name",
    "app_id": "its app",
    "teepod_id": "the number of its teepod",
    "teepod": "the name of its teepod",
    "before": "its status when the plan was made",
    "outcome": "how it ended, or would if nothing more were done",
    "status": "the last status that was seen",
    "reason": "why, where it did not end as wanted",
    "http_status": "of the last answer to its requests",
    "request_id": "the API's id of that request",
    "attempts": "how many requests were recorded for it",
    "intent_at": "when its first request was announced, UTC",
    "accepted_at": "when it was accepted",
    "ended_at": "when it had its outcome",
    "seconds": "from the first request to the outcome",
    "billing_triggered_at": "when its open usage was charged, by the acceptance",
    "compute_usd_per_hour": "its compute rate, estimated",
    "storage_usd_per_hour": "its storage rate, estimated",
    "charge_state": "`charged`, `pending`, `none`, `unknown` or `not_asked`; empty where nothing was to be charged",
    "charge_expected_usd": "the charge that was expected, estimated",
    "charged_usd": "what was charged, observed",
}
"""The columns with their meaning, in order. More may be added at the end; none is changed or taken away."""


def build_report_csv(document: Mapping[str, Any]) -> str:
    """Build the CSV text, with the column names in the first line."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for target in document["targets"]:
        row = {"run_id": document["run"]["run_id"], **_target_fields(target)}
        writer.writerow([cell(row[column]) for column in COLUMNS])
    return out.getvalue()


def _target_fields(target: Mapping[str, Any]) -> dict[str, object]:
    billing, charge = target["billing"] or {}, target["charge"] or {}
    kept = COLUMNS.keys() & target.keys()
    return {
        **{key: target[key] for key in kept},
        **{key: target["cvm"][key] for key in ("vm_uuid", "name", "app_id", "teepod_id", "teepod")},
        "cvm_id": target["cvm"]["id"],
        "billing_triggered_at": billing.get("triggered_at"),
        "compute_usd_per_hour": billing.get("compute_usd_per_hour"),
        "storage_usd_per_hour": billing.get("storage_usd_per_hour"),
        "charge_state": charge.get("state"),
        "charge_expected_usd": charge.get("expected_usd"),
        "charged_usd": charge.get("charged_usd"),
    }
