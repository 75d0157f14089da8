"""`orchestrator reconcile`."""

from typing import Any

import click

from orchestrator.cli.options import fleet_handler, json_option, run_argument, settings_options


@click.command("reconcile", epilog="\b\nExample: orchestrator reconcile 20261123T080000Z-4f2a")
@run_argument()
@click.option("--details", is_flag=True, help="List every CVM.")
@json_option
@settings_options
@fleet_handler("reconcile.reconcile_fleet", changes=True)
def command(**options: Any) -> int:
    """Compare a run's charges with the vendor's usage records.

    Reads the metered usage of the apps, and finds the charges of the run's stops. The run must be finished. Adds the
    expected amount, the charged amount and the difference to the run's audit log. Changes nothing in the cloud.

    Exit code 0: complete. Exit code 7: some charges are pending, because usage records arrive some time after a stop.
    Run the command again later; it asks only about pending charges.
    """
    from orchestrator.cli.handlers.reconcile import reconcile_run

    return reconcile_run(**options)
