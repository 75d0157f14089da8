"""`orchestrator schema`."""

import json

import click


@click.command("schema", epilog="\b\nExample: orchestrator schema > playbook.schema.json")
def command() -> None:
    """Print the JSON Schema of playbooks, for completion and checks in an editor."""
    from orchestrator.playbook.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
