"""`orchestrator run`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    ignore_running_option,
    json_option,
    playbook_options,
    settings_options,
    verbosity_options,
)


@click.command("run", epilog="\b\nExample: orchestrator run emergency-stop-teepod --var teepod=prod-1 --expect 12")
@partial(playbook_options, required=False)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep to the plan that `plan --out FILE` wrote: its targets alone, as far as they have not changed.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether the plan may go. A pause step asks all the same.")
@click.option("--expect", type=click.IntRange(min=0), metavar="N", help="Go on only if the plan has exactly N targets.")
@ignore_running_option
@json_option
@settings_options
@verbosity_options
def command(**given: Any) -> int:
    """Carry a playbook out: plan, confirm, act, watch until settled.

    With --plan FILE it touches no CVM that is not a target in FILE, and none that has changed since: those are listed
    as drifted and left alone. A file that was edited is refused.

    On a terminal it asks for the number of CVMs to be typed. Without one it changes nothing unless --yes or --expect
    is given.
    """
    from orchestrator.cli.handlers.run import run, run_plan_file

    if given["plan_file"] is not None:
        return run_plan_file(**given)
    if given["playbook"] is None:
        raise click.UsageError("Missing argument 'PLAYBOOK'.")
    del given["plan_file"]
    return run(**given)
