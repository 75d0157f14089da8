"""`orchestrator restore`."""

from typing import Any

import click

from orchestrator.cli.options import (
    fleet_handler,
    ignore_running_option,
    json_option,
    run_argument,
    settings_options,
    verbosity_options,
    yes_option,
)


@click.command("restore", epilog="\b\nExample: orchestrator restore 20261123T080000Z-4f2a --expect 12")
@run_argument()
@yes_option()
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Start only if the plan has exactly N targets.")
@ignore_running_option
@json_option
@settings_options
@verbosity_options
@fleet_handler("restore.restore_fleet", changes=True)
def command(**options: Any) -> int:
    """Undo a finished run: start the stopped CVMs.

    An undo is a new run with its own plan, guards, audit log and resume. CVMs changed since the first run are listed
    and skipped. Starts cost money: the plan shows the amount, and the CVMs with GPUs, each charged with a new 24-hour
    minimum.

    On a terminal, you confirm by typing the number of CVMs. Without a terminal, the command needs --yes or --expect;
    otherwise the command shows the plan and changes nothing.
    """
    from orchestrator.cli.handlers.restore import restore_run

    return restore_run(**options)
