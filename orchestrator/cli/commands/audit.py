"""`orchestrator audit verify`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, settings_options


@click.group("audit", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
def command() -> None:
    """Check audit logs."""


@command.command("verify", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
@click.argument("log", metavar="PATH|RUN_ID")
@json_option
@settings_options
def verify(**given: Any) -> int:
    """Say whether an audit log is what was written.

    Exits with 0 when it is whole and finished, 6 when a line was altered (and names it), 7 when it is whole so far but
    unfinished or torn.
    """
    from orchestrator.cli.audit import verify

    return verify(**given)
