"""The targets of a report as CSV (RFC 4180), a line for every target, safe to open in a spreadsheet."""

import csv
from collections.abc import Mapping
from io import StringIO
from typing import Any

from orchestrator.report.cells import cell

COLUMNS = {
    "run_id": "the id of the run",
    "step": "the name of the step",
    "action": "the action of the step",
    "escalated_to": "the stronger action after an escalation; otherwise empty",
    "wave": "the number of the wave, from 1",
    "cvm_id": "the hashid of the CVM",
    "vm_uuid": "the UUID of the CVM",
    "name": "the name of the CVM",
    "app_id": "the app of the CVM",
    "teepod_id": "the number of the teepod",
    "teepod": "the name of the teepod",
    "before": "the status in the plan",
    "outcome": "the outcome; in an unfinished run, the outcome without further requests",
    "status": "the last observed status",
    "reason": "the reason for an unwanted outcome",
    "http_status": "the HTTP status of the last answer",
    "request_id": "the API's id of the last request",
    "attempts": "the number of recorded requests",
    "intent_at": "the time of the first request, UTC",
    "accepted_at": "the time of the acceptance",
    "ended_at": "the time of the outcome",
    "seconds": "the seconds from the first request to the outcome",
    "billing_triggered_at": "the time of the charge for open usage, by the acceptance",
    "compute_usd_per_hour": "the compute rate, estimated",
    "storage_usd_per_hour": "the storage rate, estimated",
    "charge_state": "`charged`, `pending`, `none`, `unknown` or `not_asked`; empty for a target without a charge",
    "charge_expected_usd": "the expected charge, estimated",
    "charged_usd": "the charge, observed",
    "workspace": "the workspace by its name in the settings; the column is there only with a name",
}
"""The columns with their meaning, in order. New columns go to the end; existing columns stay as they are."""


def build_report_csv(document: Mapping[str, Any]) -> str:
    """Build the CSV text of a run, or of all runs of a fleet run, with the column names in the first line."""
    out = StringIO()
    writer = csv.writer(out)
    runs = document.get("workspaces", [document])
    names = [each.get("workspace", each["run"].get("workspace_name")) for each in runs]
    columns = [column for column in COLUMNS if column != "workspace" or any(name is not None for name in names)]
    writer.writerow(columns)
    for name, each in zip(names, runs, strict=True):
        about = {"run_id": each["run"]["run_id"], "workspace": name}
        for target in each["targets"]:
            row = about | _target_fields(target)
            writer.writerow([cell(row[column]) for column in columns])
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
