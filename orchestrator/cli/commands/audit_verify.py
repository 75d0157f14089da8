"""`orchestrator audit verify`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("verify", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
@click.argument("logs", metavar="[PATH|RUN_ID]...", nargs=-1)
@click.option(
    "--all", "every", is_flag=True, help="Every log in the state folder; with seals, also those that are gone."
)
@click.option(
    "--public-key",
    "public_keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Also demand a seal by this key (PEM), which finds a cut end and another log in its place.",
)
@click.option(
    "--seal",
    "seals",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    multiple=True,
    help="Also demand what this seal, kept elsewhere, is about; of a folder, RUN_ID.seal.json.",
)
@json_option
@settings_options
def command(**given: Any) -> int:
    """Say whether audit logs are what was written.

    Exits with 0 when a log is whole and finished, 6 when a line was altered (and names it), 7 when it is whole so far
    but unfinished or torn. With --public-key, 6 also when no seal by that key holds, and with --all when a log is gone
    that was sealed and not pruned. Of several logs, 6 goes before 7.
    """
    from orchestrator.cli.handlers.audit_verify import verify

    return verify(**given)
