"""`orchestrator restore`."""

from typing import Any

import click

from orchestrator.cli.options import ignore_running_option, json_option, settings_options, verbosity_options


@click.command("restore", epilog="\b\nExample: orchestrator restore 20261123T080000Z-4f2a --expect 12")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Go on only if the plan has exactly N targets.")
@ignore_running_option
@json_option
@settings_options
@verbosity_options
def command(**given: Any) -> int:
    """Undo a finished run: start the CVMs that it took from running to down.

    A run of its own: planned, guarded by the settings, audited, resumable. CVMs that have changed since are listed as
    drifted and left alone. Starting costs money: the plan says how much, and which CVMs have GPUs, for which a new
    24-hour minimum is charged.

    On a terminal it asks for the number of CVMs to be typed. Without one it shows the plan and changes nothing unless
    --yes or --expect is given.
    """
    from orchestrator.cli.handlers.restore import restore

    return restore(**given)
