"""`orchestrator audit keygen`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import json_option


@click.command("keygen", epilog="\b\nExample: orchestrator audit keygen --out seal.pem")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    required=True,
    help="Where to put the private key; the public one goes beside it. Neither may be there.",
)
@json_option
def command(**given: Any) -> None:
    """Make a pair of keys to seal audit logs with."""
    from orchestrator.cli.handlers.audit_keygen import keygen

    keygen(**given)
