"""`orchestrator validate`."""

from typing import Any

import click

from orchestrator.cli.options import json_option, playbooks_argument, variables_option


@click.command("validate", epilog="\b\nExample: orchestrator validate playbooks/*.yaml")
@playbooks_argument
@variables_option
@json_option
def command(**options: Any) -> int:
    """Check playbooks without a network; by default all playbooks in ./playbooks.

    Required variables may be missing; values that use them are not checked then.
    """
    from orchestrator.cli.handlers.validate import validate_playbooks

    return validate_playbooks(**options)
