"""`orchestrator plan`."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import (
    format_option,
    narrow_options,
    out_option,
    override_options,
    playbook_options,
    skip_unreachable_option,
    verbosity_options,
    workspace_options,
)


@click.command("plan", epilog="\b\nExample: orchestrator plan nightly-cost-stop --details")
@partial(playbook_options, required=False)
@click.option("--restore", metavar="RUN_ID", help="Show the plan of `restore RUN_ID`, in place of a playbook.")
@click.option("--wake", metavar="PLAYBOOK", help="Show the plan of `wake PLAYBOOK`, in place of a playbook.")
@click.option(
    "--inventory",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Plan from an inventory file (`cvms --save FILE`): offline, without an API key.",
)
@narrow_options
@override_options
@out_option("Write the plan to FILE, for a review and for `run --plan FILE`. An older plan there is replaced.")
@click.option("--details", is_flag=True, help="List every CVM of the inventory, with the reason of every skip.")
@format_option("text", "json", "md")
@skip_unreachable_option
@workspace_options
@verbosity_options
def command(**options: Any) -> int:
    """Show the plan of a playbook. Changes nothing.

    md is Markdown for pull requests and job summaries.
    """
    from orchestrator.cli.handlers.plan import PlanCommand, show_plan

    asked = PlanCommand(**options)
    for option, value in (("--wake", asked.wake), ("--restore", asked.restore)):
        if value is not None and asked.inventory is not None:
            raise click.UsageError(f"{option} and --inventory exclude each other.")
    if asked.wake is not None:
        from orchestrator.cli.handlers.undo_plan import show_wake_plan

        return show_wake_plan(asked, asked.wake)
    if asked.restore is not None:
        from orchestrator.cli.handlers.undo_plan import show_undo_plan

        return show_undo_plan(asked, asked.restore)
    if asked.playbook is None:
        raise click.UsageError("Missing argument 'PLAYBOOK'.")
    if asked.inventory is not None:
        from orchestrator.cli.handlers.offline_plan import show_offline_plan

        return show_offline_plan(asked, asked.playbook, asked.inventory)
    return show_plan(asked, asked.playbook)
