"""`orchestrator schema`."""

import json

import click


@click.command("schema", epilog="\b\nExample: orchestrator schema > playbook.schema.json")
@click.option("--inventory", is_flag=True, help="The schema of inventory files, by `cvms --save`.")
def command(*, inventory: bool) -> None:
    """Print the JSON Schema of playbooks, for completion and checks in an editor."""
    if inventory:
        from orchestrator.runs.inventory_file import inventory_schema as schema
    else:
        from orchestrator.playbook.schema import json_schema as schema
    click.echo(json.dumps(schema(), indent=2))
