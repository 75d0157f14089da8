"""`orchestrator whoami`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, workspace_options


@click.command("whoami", epilog="\b\nExample: orchestrator whoami")
@json_option
@workspace_options
def command(**options: Any) -> None:
    """Show the user and workspace of the API key, the address, and the source of the key.

    Sends one reading request. Exit code 5: the cloud is unreachable, or refuses the key.
    """
    from orchestrator.cli.handlers.whoami import show_identity

    show_identity(**options)
