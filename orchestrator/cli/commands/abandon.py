"""`orchestrator abandon`."""

from typing import Any

import click

from orchestrator.cli.options import fleet_handler, json_option, run_argument, settings_options, verbosity_options


@click.command("abandon", epilog="\b\nExample: orchestrator abandon 20261123T080000Z-4f2a --reason 'wrong teepod'")
@run_argument()
@click.option("--reason", required=True, metavar="TEXT", help="Reason; recorded in the audit log.")
@json_option
@settings_options
@verbosity_options
@fleet_handler("abandon.abandon_interrupted_fleet", changes=True)
def command(**options: Any) -> int:
    """End an interrupted run without sending requests to its CVMs.

    Reads the status of every open CVM first. A CVM is settled if its stop took effect, and unsettled if its stop may
    still take effect. All other CVMs are not_sent. The exit code is 8. `orchestrator restore` can undo the run.

    Exit code 3: a process still executes the run. Exit code 5: a status can't be read. Nothing is recorded then.
    """
    from orchestrator.cli.handlers.abandon import abandon_interrupted_run

    return abandon_interrupted_run(**options)
