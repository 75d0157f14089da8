"""`orchestrator plan`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option, playbook_options, settings_options


@click.command("plan", epilog="\b\nExample: orchestrator plan nightly-cost-stop --details")
@playbook_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the plan down, for someone to read and for `run --plan FILE`. An older plan there is replaced.",
)
@click.option("--details", is_flag=True, help="Name every CVM of the inventory, and why it is skipped.")
@json_option
@settings_options
def command(**given: Any) -> int:
    """Say what a playbook would do right now. Sends nothing that changes anything."""
    from orchestrator.cli.handlers.plan import plan

    return plan(**given)
