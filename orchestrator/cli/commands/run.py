"""`orchestrator run`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, playbook_options, settings_options


@click.command("run", epilog="\b\nExample: orchestrator run emergency-stop-teepod --var teepod=prod-1 --expect 12")
@playbook_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Go on only if the plan has exactly N targets.")
@json_option
@settings_options
def command(**given: Any) -> int:
    """Carry a playbook out: plan, confirm, stop, watch until settled.

    On a terminal it asks for the number of CVMs to be typed. Without one it changes nothing unless --yes or --expect
    is given.
    """
    from orchestrator.cli.run import run

    return run(**given)
