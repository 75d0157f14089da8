"""`orchestrator savings`."""

from typing import Any

import click

from orchestrator.cli.options import format_option, out_option, settings_options


@click.command("savings", epilog="\b\nExample: orchestrator savings --since 30d --by teepod --out savings.html")
@click.option("--since", default="30d", show_default=True, metavar="AGO|DATE|TIME", help="Start of the period.")
@click.option("--until", metavar="AGO|DATE|TIME", help="End of the period; a date includes that day. Default: now.")
@click.option(
    "--by",
    type=click.Choice(["playbook", "app", "teepod"]),
    default="playbook",
    show_default=True,
    help="Group rows by.",
)
@click.option("--fleet", metavar="FLEET_ID", help="Only the stops of this fleet run.")
@format_option("text", "json", "csv", "html", "svg", by_suffix=True)
@out_option("Write to FILE; - is stdout.")
@click.option("--live", is_flag=True, help="Count running CVMs as started; reads the inventory.")
@click.option("--simulated", is_flag=True, help="Count only simulated runs (excluded by default).")
@settings_options
def command(**options: Any) -> int:
    """Show the savings of stopped CVMs: time down, saved amount, and remaining cost.

    A time is a duration before now (30d, 12h), a date (2027-12-24), or a moment (2027-12-24T18:00Z). Times without an
    offset are UTC. Reads only the audit logs, except with --live. Changes nothing.

    html is a page with a chart, svg the chart alone.
    """
    from orchestrator.cli.handlers.savings import print_savings

    return print_savings(**options)
