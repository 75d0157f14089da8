"""`orchestrator audit`: the group of what is done with audit logs."""

import click

from orchestrator.cli.commands import audit_keygen, audit_seal, audit_verify


@click.group("audit", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
def command() -> None:
    """Check, seal, read, export and prune audit logs."""


command.add_command(audit_verify.command)
command.add_command(audit_seal.command)
command.add_command(audit_keygen.command)
