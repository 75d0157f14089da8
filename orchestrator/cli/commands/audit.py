"""`orchestrator audit`: the group of what is done with audit logs."""

import click

from orchestrator.cli.commands import audit_export, audit_keygen, audit_prune, audit_seal, audit_show, audit_verify


@click.group("audit", epilog="\b\nExample: orchestrator audit verify 20261123T080000Z-4f2a")
def command() -> None:
    """Check, seal, tell, export and prune audit logs."""


command.add_command(audit_verify.command)
command.add_command(audit_show.command)
command.add_command(audit_export.command)
command.add_command(audit_seal.command)
command.add_command(audit_keygen.command)
command.add_command(audit_prune.command)
