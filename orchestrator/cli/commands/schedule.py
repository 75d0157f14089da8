"""`orchestrator schedule explain`."""

from typing import Any

import click

from orchestrator.cli.options import _complete_playbook, json_option, variables_option


@click.group("schedule", epilog="\b\nExample: orchestrator schedule explain nightly-cost-stop")
def command() -> None:
    """Say when playbooks are due."""


@command.command(
    "explain", epilog="\b\nExample: orchestrator schedule explain nightly-cost-stop --from 2027-01-01 --to 2027-12-31"
)
@click.argument("playbook", metavar="PLAYBOOK", shell_complete=_complete_playbook)
@click.option("--from", "start", metavar="DATE|TIME", help="From then on; default: now.")
@click.option("--to", "end", metavar="DATE|TIME", help="Until then, a date to its end; default: 30 days later.")
@variables_option
@json_option
def explain(**given: Any) -> None:
    """List every firing of a playbook's schedule, and every one that is left out, with the reason.

    Dates and times go by the clocks of the schedule's zone, unless they have an offset: 2027-03-28,
    2027-03-28T02:30, 2027-03-28T02:30Z. Nothing is sent, and nothing is started.
    """
    from orchestrator.cli.handlers.schedule import explain

    explain(**given)
