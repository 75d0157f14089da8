"""`orchestrator serve`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import settings_options


@click.command("serve", epilog="\b\nExample: orchestrator serve --playbooks /srv/fleet/playbooks")
@click.option(
    "--playbooks",
    type=click.Path(path_type=Path),
    default=Path("playbooks"),
    show_default=True,
    metavar="FOLDER",
    help="Whose schedules to run.",
)
@click.option(
    "--listen",
    default="127.0.0.1:8642",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to answer /healthz, /readyz and /metrics; `none` answers nowhere.",
)
@settings_options
def command(**given: Any) -> int:
    """Run the schedules of a folder of playbooks until told to stop.

    Edits are picked up within seconds; a file that can't be used any more leaves its last valid version in force.
    Each firing is carried out once, as `run --yes` would, also where the process is killed and started anew. Nothing
    is asked, and the guards hold.

    The first Ctrl-C or SIGTERM begins nothing more and sends nothing more; a second one leaves at once. What was
    interrupted goes on at the next start.
    """
    from orchestrator.cli.handlers.serve import serve

    return serve(**given)
