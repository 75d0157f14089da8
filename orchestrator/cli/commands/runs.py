"""`orchestrator runs`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("runs", epilog="\b\nExample: orchestrator runs --unfinished")
@click.option("--unfinished", is_flag=True, help="Only those that `resume` can go on with.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many at the most.")
@json_option
@settings_options
def command(**given: Any) -> None:
    """List runs, newest first, and what to type for those that are not finished."""
    from orchestrator.cli.runs import runs

    runs(**given)
