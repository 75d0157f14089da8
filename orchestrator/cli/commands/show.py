"""`orchestrator show`."""

from typing import Any

import click

from orchestrator.cli.options import fleet_handler, json_option, run_argument, settings_options


@click.command("show", epilog="\b\nExample: orchestrator show 20261123T080000Z-4f2a --json")
@run_argument()
@json_option
@settings_options
@fleet_handler("show.show_fleet")
def command(**options: Any) -> None:
    """Show the result of a run, from its audit log."""
    from orchestrator.cli.handlers.show import show_run

    show_run(**options)
