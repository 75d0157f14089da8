"""The HTML report, made from the report's document."""

from collections.abc import Mapping
from typing import Any

from orchestrator.report.formatting import moment
from orchestrator.report.full.html.incidents import moments
from orchestrator.report.full.html.log import log
from orchestrator.report.full.html.money import billing
from orchestrator.report.full.html.outcomes import failures, guards, skipped
from orchestrator.report.full.html.requests import requests
from orchestrator.report.full.html.summary import head, summary
from orchestrator.report.full.html.timeline import timeline
from orchestrator.report.html.page import page


def report_html(document: Mapping[str, Any]) -> bytes:
    """Build the HTML file."""
    parts = [
        summary(document),
        failures(document),
        timeline(document),
        requests(document),
        moments(document),
        guards(document),
        skipped(document),
        billing(document),
        log(document),
    ]
    run = document["run"]
    title = f"{run['playbook'].get('name') or 'Run'}, run {run['run_id']}"
    foot = f"Made {moment(document['made_at'])} by {document['made_by']} from the audit log alone. Times are UTC."
    return page(title, head(document), [part for part in parts if part is not None], foot)
