"""A report as HTML, from its document."""

from collections.abc import Mapping
from typing import Any

from orchestrator.report.amounts import moment
from orchestrator.report.html.log import log
from orchestrator.report.html.moments import moments
from orchestrator.report.html.money import billing
from orchestrator.report.html.outcomes import failures, guards, skipped
from orchestrator.report.html.page import page
from orchestrator.report.html.requests import requests
from orchestrator.report.html.summary import head, summary
from orchestrator.report.html.timeline import timeline


def report_html(document: Mapping[str, Any]) -> bytes:
    """The file."""
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
