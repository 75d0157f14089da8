"""`orchestrator resume`."""

from typing import Any

import click

from orchestrator.cli.options import ignore_running_option, json_option, settings_options, verbosity_options


@click.command("resume", epilog="\b\nExample: orchestrator resume 20261123T080000Z-4f2a --yes")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--yes", is_flag=True, help="Do not ask, however old the plan is.")
@ignore_running_option
@json_option
@settings_options
@verbosity_options
def command(**given: Any) -> int:
    """Go on with a run that was interrupted, from what its audit log says.

    Reads the status of every CVM whose outcome is open before anything is sent. Exits as `run` does.
    """
    from orchestrator.cli.resume import resume

    return resume(**given)
