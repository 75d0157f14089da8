"""`orchestrator serve`."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import settings_options, verbosity_options


@click.command("serve", epilog="\b\nExample: orchestrator serve --playbooks /srv/fleet/playbooks")
@click.option(
    "--playbooks",
    type=click.Path(path_type=Path),
    show_default="playbooks",
    metavar="FOLDER",
    help="Folder of playbooks with schedules; not with a team store.",
)
@click.option(
    "--listen",
    default="127.0.0.1:8642",
    show_default=True,
    metavar="HOST:PORT",
    help="Address of the page, its JSON, /healthz, /readyz and /metrics; `none` for no address.",
)
@settings_options
@verbosity_options
def command(**options: Any) -> int:
    """Run the schedules of a folder of playbooks, or of the team store, until stopped.

    Edits take effect within seconds; the last valid version of an invalid file stays in force. Each firing runs once,
    as with `run --yes`, even if the process is killed and restarted. Nothing is asked, and all guards apply.

    With a team store, several machines may serve: one machine has the duty of the schedules, and another machine takes
    over within seconds. Each machine is also a worker for the keys of its settings.

    After the first Ctrl-C or SIGTERM, nothing more is started or sent; a second signal exits at once. Interrupted runs
    continue at the next start.
    """
    from orchestrator.cli.handlers.serve import serve_playbooks

    return serve_playbooks(**options)
