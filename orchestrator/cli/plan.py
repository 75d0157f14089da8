"""`orchestrator plan`."""

import json
from pathlib import Path

import anyio
import click

from orchestrator.cli.consoles import stdout
from orchestrator.cli.fail import report
from orchestrator.cli.logs import configure
from orchestrator.cli.options import json_option, playbook_options, settings_options
from orchestrator.cli.session import Endpoint, endpoint, limits_of, open_session, prepare
from orchestrator.cli.verdict import verdict
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.variables import parse_assignments
from orchestrator.report.documents import plan_document
from orchestrator.report.plan_text import print_plan
from orchestrator.settings.load import Settings, load_settings


@click.command("plan", epilog="\b\nExample: orchestrator plan nightly-cost-stop --details")
@playbook_options
@click.option("--details", is_flag=True, help="Name every CVM of the inventory, and why it is skipped.")
@json_option
@settings_options
def command(
    playbook: str,
    variables: tuple[str, ...],
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    simulate: bool,
    details: bool,
    as_json: bool,
) -> int:
    """Say what a playbook would do right now. Sends nothing that changes anything."""
    loaded = load_playbook(find_playbook(playbook), parse_assignments(variables))
    settings = load_settings(config, assignments)
    configure(settings.log)
    with endpoint(settings, simulate=simulate) as where:
        plan = anyio.run(_plan, settings, where, loaded)
    error, document = verdict(plan), plan_document(plan)
    if not as_json:
        print_plan(stdout(), plan, loaded.playbook.description, details=details)
    elif error is None:
        click.echo(json.dumps(document, indent=2))
    if error is None:
        return int(Exit.OK)
    report(error, as_json=as_json, extra=document)
    return int(error.exit_code)


async def _plan(settings: Settings, where: Endpoint, loaded: LoadedPlaybook) -> Plan:
    async with open_session(settings, where, limits_of(loaded.playbook.limits, settings)) as session:
        return (await prepare(session, loaded)).plan
