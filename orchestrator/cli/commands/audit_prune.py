"""`orchestrator audit prune`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("prune", epilog="\b\nExample: orchestrator audit prune --older-than 90d --dry-run")
@click.option("--older-than", metavar="DURATION", required=True, help="Whose last record is older, such as 90d.")
@click.option("--unsealed", is_flag=True, help="Also finished logs that no seal covers to their end.")
@click.option(
    "--unfinished", is_flag=True, help="Also logs of runs that did not finish, which `resume` could go on with."
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Count only good seals by this key (PEM); else any seal counts, unchecked.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@settings_options
def command(**given: Any) -> int:
    """Remove old audit logs from the state folder.

    Never without being told to: logs of runs that did not finish, and logs that no seal covers to their end. Never at
    all: altered logs, and those that a process holds. What goes is on record in STATE_DIR/pruned.jsonl.
    """
    from orchestrator.cli.handlers.audit_prune import prune_logs

    return prune_logs(**given)
