"""`orchestrator playbooks`: the playbooks of the team store."""

from pathlib import Path
from typing import Any

import click

from orchestrator.cli.options import HintingGroup, json_option, settings_options


@click.group("playbooks", cls=HintingGroup, epilog="\b\nExample: orchestrator playbooks push playbooks")
def command() -> None:
    """Push playbooks to the team store, and list the pushed playbooks. `serve` runs their schedules."""


@command.command("push", epilog="\b\nExample: orchestrator playbooks push playbooks --prune")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the playbooks of the store without a file in DIR.")
@json_option
@settings_options
def push(**options: Any) -> int:
    """Push the playbooks in DIR, and their calendars, to the team store.

    All playbooks are checked first; with an invalid playbook, nothing is pushed. Playbooks of the store without a file
    in DIR stay, unless --prune. The schedules of all machines change within seconds.

    Exit code 0: pushed. 2: invalid playbook, settings or rights. 5: the database is unreachable.
    """
    from orchestrator.cli.handlers.playbooks import push_folder

    return push_folder(**options)


@command.command("list", epilog="\b\nExample: orchestrator playbooks list")
@json_option
@settings_options
def list_all(**options: Any) -> int:
    """List the playbooks of the team store, with author and time of the last change."""
    from orchestrator.cli.handlers.playbooks import list_playbooks

    return list_playbooks(**options)
