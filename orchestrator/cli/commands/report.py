"""`orchestrator report`."""

from typing import Any

import click

from orchestrator.cli.options import fleet_handler, format_option, out_option, run_argument, settings_options


@click.command("report", epilog="\b\nExample: orchestrator report 20261123T080000Z-4f2a --out report.html")
@run_argument("RUN_ID|PATH")
@format_option("text", "json", "html", "csv", "md", by_suffix=True)
@out_option("Write to FILE; - is stdout.")
@click.option("--even-if-altered", is_flag=True, help="Report an altered log up to the altered line.")
@settings_options
@fleet_handler("report.write_fleet_report")
def command(**options: Any) -> int:
    """Write a report of one run: timeline, requests, failures, guards, costs, and the log's digest.

    html is one file for a browser, without scripts and external resources; csv has one line per target. An altered log
    is refused (exit code 6). --even-if-altered reports the lines before the change; the exit code is still 6.
    """
    from orchestrator.cli.handlers.report import write_report

    return write_report(**options)
