"""`orchestrator plan`."""

import json
from pathlib import Path

import anyio
import click

from orchestrator.cli.fail import report
from orchestrator.cli.session import Endpoint, endpoint, limits_of, open_session, prepare
from orchestrator.cli.verdict import verdict
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook, find_playbook, load_playbook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.variables import parse_assignments
from orchestrator.settings.load import Settings, load_settings


def plan(
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
    with endpoint(settings, simulate=simulate) as where:
        found = anyio.run(_plan, settings, where, loaded)
    return _tell(found, loaded.playbook.description, details=details, as_json=as_json)


def _tell(plan: Plan, description: str | None, *, details: bool, as_json: bool) -> int:
    from orchestrator.report.documents import plan_document  # noqa: PLC0415 - the requests had to go out first

    error, document = verdict(plan), plan_document(plan)
    if not as_json:
        from orchestrator.cli.consoles import stdout  # noqa: PLC0415 - only for people; a good part of the start
        from orchestrator.report.plan_text import print_plan  # noqa: PLC0415 - the same

        print_plan(stdout(), plan, description, details=details)
    elif error is None:
        click.echo(json.dumps(document, indent=2))
    if error is None:
        return int(Exit.OK)
    report(error, as_json=as_json, extra=document)
    return int(error.exit_code)


async def _plan(settings: Settings, where: Endpoint, loaded: LoadedPlaybook) -> Plan:
    async with open_session(settings, where, limits_of(loaded.playbook.limits, settings), few=True) as session:
        return (await prepare(session, loaded)).plan
