"""`orchestrator report`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import settings_options


@click.command("report", epilog="\b\nExample: orchestrator report 20261123T080000Z-4f2a --out report.html")
@click.argument("run_id", metavar="RUN_ID|PATH")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html", "csv", "md"]),
    help="Default: what the suffix of --out says, else text.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; - is stdout.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--even-if-altered", is_flag=True, help="Of an altered log, report what stands before the altered line.")
@settings_options
def command(**given: Any) -> int:
    """Tell a run in full, from its audit log: timeline, requests, failures, guards, the bill, and the log's digest.

    html is one file for a browser, without script or anything from elsewhere; csv has one line a target. Of a log
    that was altered nothing is told (exit 6), unless you ask for what stands before the altered line; the exit code is
    6 then as well.
    """
    from orchestrator.cli.handlers.report import report

    return report(**given)
