"""`orchestrator init`."""

import shlex
from pathlib import Path

import click

from orchestrator.runs.init import create_files
from orchestrator.text import safe_text


def init_folder(folder: Path) -> None:
    """Create the files of a folder, and print the next commands."""
    found = create_files(folder)
    for path in found.created:
        click.echo(f"created  {safe_text(path, 4096)}")
    for path in found.left:
        click.echo(f"exists, left as it is  {safe_text(path, 4096)}")
    click.echo("\nNext:")
    if folder != Path():
        click.echo(f"  cd {safe_text(shlex.quote(str(folder)), 4096)}")
    click.echo("  orchestrator validate first           # no network, no key")
    click.echo("  orchestrator plan first --simulate    # against a simulated cloud")
    click.echo("  export PHALA_CLOUD_API_KEY=...        # then: orchestrator whoami")
    click.echo("  orchestrator plan first               # changes nothing")
