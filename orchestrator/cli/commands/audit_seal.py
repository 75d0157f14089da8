"""`orchestrator audit seal`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.command("seal", epilog="\b\nExample: orchestrator audit seal 20261123T080000Z-4f2a --key seal.pem")
@click.argument("logs", metavar="[PATH|RUN_ID]...", nargs=-1)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="The private key, Ed25519 in PEM, readable by its owner alone.",
)
@click.option("--all", "every", is_flag=True, help="Every finished log in the state folder.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Put the seal there, and leave the log as it is: for a copy that can only be read.",
)
@json_option
@settings_options
def command(**given: Any) -> int:
    """Sign finished audit logs, so that a cut end and another log in its place are found.

    Appends `run.sealed` to the log and puts the seal beside it too, as RUN_ID.seal.json. Sealing again signs what came
    since; where nothing did, it says so.
    """
    from orchestrator.cli.handlers.audit_seal import seal

    return seal(**given)
