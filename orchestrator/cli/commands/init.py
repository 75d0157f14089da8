"""`orchestrator init`."""

from pathlib import Path

import click


@click.command("init", epilog="\b\nExample: orchestrator init fleet")
@click.argument("folder", metavar="[FOLDER]", type=click.Path(path_type=Path), default=Path())
def command(folder: Path) -> None:
    """Create settings and a first playbook in a folder; by default in the current folder.

    Existing files are left as they are. Needs no network and no key.
    """
    from orchestrator.cli.handlers.init import init_folder

    init_folder(folder)
