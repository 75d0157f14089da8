"""`orchestrator savings`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import settings_options


@click.command("savings", epilog="\b\nExample: orchestrator savings --since 30d --by teepod --out savings.html")
@click.option("--since", default="30d", show_default=True, metavar="AGO|DATE|TIME", help="From then on.")
@click.option("--until", metavar="AGO|DATE|TIME", help="Until then, a date to its end; default: now.")
@click.option(
    "--by", type=click.Choice(["playbook", "app", "teepod"]), default="playbook", show_default=True, help="Rows are of."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "html", "svg"]),
    help="Default: what the suffix of --out says, else text. html is a page with a chart, svg the chart alone.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; - is stdout.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--live", is_flag=True, help="Ask the cloud which CVMs run now: those stand still no more.")
@click.option("--simulated", is_flag=True, help="Of runs against a simulated cloud, which are left out else.")
@settings_options
def command(**given: Any) -> int:
    """Say how long CVMs stood still that runs stopped, what that spared, and what it did not.

    Times are 30d or 12h back from now, a date such as 2027-12-24, or a time such as 2027-12-24T18:00Z; without an
    offset they are UTC. Read from the audit logs alone, but for --live; nothing is changed.
    """
    from orchestrator.cli.handlers.savings import savings

    return savings(**given)
