"""`orchestrator audit show`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("show", epilog="\b\nExample: orchestrator audit show 20261123T080000Z-4f2a --cvm worker-7")
@click.argument("run_id", metavar="PATH|RUN_ID")
@click.option("--cvm", metavar="NAME|ID|UUID", help="Tell of this CVM alone, from its plan to its outcome.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="How many sentences about single CVMs at the most.",
)
@click.option("--all", "every", is_flag=True, help="All of them.")
@json_option
@settings_options
def command(**given: Any) -> None:
    """Tell what happened, from the audit log: in a run as a whole, or to one CVM.

    Without --cvm: who started it, what was planned, what went wrong, who was asked, and how it ended. A name can mean
    several CVMs; all of them are told.
    """
    from orchestrator.cli.handlers.audit_show import show

    show(**given)
