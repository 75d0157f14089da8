"""`orchestrator schedule explain`."""

from typing import Any

import click

from orchestrator.cli.options import HintingGroup, json_option, playbook_argument, variables_option


@click.group("schedule", cls=HintingGroup, epilog="\b\nExample: orchestrator schedule explain nightly-cost-stop")
def command() -> None:
    """Show the schedules of playbooks."""


@command.command(
    "explain", epilog="\b\nExample: orchestrator schedule explain nightly-cost-stop --from 2027-01-01 --to 2027-12-31"
)
@playbook_argument()
@click.option("--from", "start", metavar="DATE|TIME", help="Start of the period; default: now.")
@click.option(
    "--to", "end", metavar="DATE|TIME", help="End of the period; a date includes that day. Default: 30 days later."
)
@variables_option
@json_option
def explain(**options: Any) -> None:
    """List the firings of a playbook's schedule, and the skipped firings with the reason.

    Dates and times are in the schedule's time zone, unless they have an offset: 2027-03-28, 2027-03-28T02:30,
    2027-03-28T02:30Z. Sends nothing and starts nothing.
    """
    from orchestrator.cli.handlers.schedule import explain_schedule

    explain_schedule(**options)
