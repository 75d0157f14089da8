"""`orchestrator resume`."""

from typing import Any

import click

from orchestrator.cli.options import ignore_running_option, json_option, settings_options, verbosity_options


@click.command("resume", epilog="\b\nExample: orchestrator resume 20261123T080000Z-4f2a --yes")
@click.argument("run_id", metavar="RUN_ID")
@click.option("--yes", is_flag=True, help="Do not ask, however old the plan is.")
@ignore_running_option
@click.option("--dry-run", is_flag=True, help="Show what would be sent, watched and skipped; send and write nothing.")
@json_option
@settings_options
@verbosity_options
def command(**given: Any) -> int:
    """Go on with a run that was interrupted, from what its audit log says.

    Reads every CVM whose outcome is open, and prints what it will send, watch and skip, before anything is sent. A CVM
    that changed or became protected since is left alone. Exits as `run` does.

    Asks nothing while the plan is younger than audit.resume_without_asking; later, or with a key that may belong to
    another workspace, it asks on a terminal, and needs --yes without one.
    """
    from orchestrator.cli.handlers.resume import resume

    return resume(**given)
