"""`orchestrator cvms`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import format_option, out_option, workspace_options
from orchestrator.cli.selector_options import selector_options


@click.command("cvms", epilog="\b\nExample: orchestrator cvms --gpus '>0' --up-longer-than 12h --sort cost")
@selector_options
@click.option(
    "--sort",
    "order",
    type=click.Choice(["cost", "age", "name", "teepod"]),
    default="name",
    show_default=True,
    help="Order of the CVMs: cost and age with the highest first; unknown last.",
)
@format_option("text", "json", "csv")
@out_option("Write the output to FILE; - is stdout.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also save the listed CVMs as an inventory file: JSON with a version.",
)
@click.option("--simulate", is_flag=True, help="Use a simulated cloud for this command only.")
@workspace_options
def command(**options: Any) -> None:
    """List the CVMs of the workspace: every replica of every app, of all statuses. Changes nothing.

    A repeated option adds CVMs; different options together narrow the list. An option for an unknown fact leaves the
    CVM out.
    """
    from orchestrator.cli.handlers.cvms import list_cvms

    list_cvms(**options)
