"""`orchestrator abandon`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options, verbosity_options


@click.command("abandon", epilog="\b\nExample: orchestrator abandon 20261123T080000Z-4f2a --reason 'wrong teepod'")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why; goes to the audit log.")
@json_option
@settings_options
@verbosity_options
def command(**given: Any) -> int:
    """End a run that was interrupted, without sending anything to its CVMs.

    Reads the status of every open CVM first. A CVM whose stop took effect is settled; a CVM whose stop may still take
    effect is unsettled; the rest is not_sent. Exits with 8. `orchestrator restore` can undo the run afterwards.

    Refused with 3 while a process carries the run out, and with 5 when a status cannot be read.
    """
    from orchestrator.cli.handlers.abandon import abandon

    return abandon(**given)
