"""`orchestrator resume`."""

from typing import Any

import click

from orchestrator.cli.options import (
    break_freeze_option,
    fleet_handler,
    ignore_running_option,
    json_option,
    run_argument,
    settings_options,
    skip_unreachable_option,
    verbosity_options,
    yes_option,
)


@click.command("resume", epilog="\b\nExample: orchestrator resume 20261123T080000Z-4f2a --yes")
@run_argument()
@yes_option("Do not ask, whatever the age of the plan.")
@ignore_running_option
@break_freeze_option
@click.option("--dry-run", is_flag=True, help="Show the next requests; send and write nothing.")
@json_option
@skip_unreachable_option
@settings_options
@verbosity_options
@fleet_handler("resume.resume_fleet", changes=True)
def command(**options: Any) -> int:
    """Continue an interrupted run from its audit log.

    Reads the status of every open CVM. Then shows the CVMs to send to, to watch and to skip, and continues. CVMs
    changed or protected since the plan are skipped. The exit codes are those of `run`.

    The command asks first if the plan is older than audit.resume_without_asking, or if the API key may belong to
    another workspace. Without a terminal, such a run needs --yes.
    """
    from orchestrator.cli.handlers.resume import resume_run

    return resume_run(**options)
