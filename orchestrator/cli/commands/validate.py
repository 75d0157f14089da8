"""`orchestrator validate`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, variables_option


@click.command("validate", epilog="\b\nExample: orchestrator validate playbooks/*.yaml")
@click.argument("playbooks", metavar="[PLAYBOOK...]", nargs=-1)
@variables_option
@json_option
def command(**given: Any) -> int:
    """Check playbooks without a network. Without PLAYBOOK: those in ./playbooks.

    Required variables may be left open; what they would fill is then not checked.
    """
    from orchestrator.cli.handlers.validate import validate

    return validate(**given)
