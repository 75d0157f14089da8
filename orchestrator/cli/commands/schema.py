"""`orchestrator schema`."""

import json

import click


@click.command("schema", epilog="\b\nExample: orchestrator schema > playbook.schema.json")
@click.option("--inventory", is_flag=True, help="Print the schema of inventory files (`cvms --save FILE`).")
@click.option("--cases", is_flag=True, help="Print the schema of cases files (NAME.cases.yaml).")
def command(*, inventory: bool, cases: bool) -> None:
    """Print the JSON Schema of playbooks, for completion and checks in an editor."""
    if inventory and cases:
        raise click.UsageError("--inventory and --cases exclude each other.")
    if cases:
        from orchestrator.runs.cases.schema import cases_schema as schema
    elif inventory:
        from orchestrator.runs.inventory_file import inventory_schema as schema
    else:
        from orchestrator.playbook.schema import json_schema as schema
    click.echo(json.dumps(schema(), indent=2))
