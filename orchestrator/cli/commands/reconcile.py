"""`orchestrator reconcile`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("reconcile", epilog="\b\nExample: orchestrator reconcile 20261123T080000Z-4f2a")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--details", is_flag=True, help="List every CVM, however many there are.")
@json_option
@settings_options
def command(**given: Any) -> int:
    """Say what the stops of a finished run were charged, by the API's usage records.

    Reads the metered usage of the apps, finds the charges that the stops triggered, and adds what it found out to the
    run's audit log: expected, charged, and the difference. Changes nothing in the cloud.

    Exits with 0 when nothing is left to ask, and with 7 while some charges are pending: usage arrives some time after a
    stop. Asking again later completes them, and asks about nothing else.
    """
    from orchestrator.cli.handlers.reconcile import reconcile

    return reconcile(**given)
