"""`orchestrator audit export`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import settings_options


@click.command("export", epilog="\b\nExample: orchestrator audit export --all --since 1h --out events.jsonl")
@click.argument("logs", metavar="[PATH|RUN_ID]...", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(["ecs", "jsonl", "csv"]),
    default="ecs",
    show_default=True,
    help="ecs: JSON Lines with the field names of ECS. jsonl: the records. csv: a table.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write there, in one piece.")
@click.option("--since", metavar="AGO|DATE|TIME", help="Only records of then or later.")
@click.option("--all", "every", is_flag=True, help="Every log in the state folder, the oldest first.")
@click.option("--even-altered", is_flag=True, help="Export an altered log too, up to the line, and exit with 6.")
@settings_options
def command(**given: Any) -> int:
    """Write audit records for another system: a SIEM, or a spreadsheet.

    Each log is checked first; when one was altered, nothing is written (exit 6). Each event has an `event.id` that is
    the same in every export, by which a SIEM leaves out what it has.
    """
    from orchestrator.cli.handlers.audit_export import export

    return export(**given)
