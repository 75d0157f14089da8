"""`orchestrator resume FLEET_ID`."""

from functools import partial
from pathlib import Path

import anyio
import click
from rich.text import Text

from orchestrator.cli.confirmation import last_line
from orchestrator.cli.consoles import stdout_console
from orchestrator.cli.event_log import configure_log
from orchestrator.cli.handlers.fleet.carry_out import carry_out_in_view
from orchestrator.cli.handlers.fleet.plan import observe_members
from orchestrator.cli.handlers.fleet.reading import read_fleet, read_outcome
from orchestrator.cli.handlers.fleet.show import print_outcome
from orchestrator.cli.handlers.resume import confirm_resume
from orchestrator.outcome import Exit
from orchestrator.report.fleet.plan_text import list_left_out
from orchestrator.report.layout import fact_lines, print_lines
from orchestrator.report.run.resume_plan import print_resume_plan
from orchestrator.runs.documents import write_document
from orchestrator.runs.fleet.resume import (
    FleetResumePlan,
    ReopenedFleet,
    open_fleet_resume,
    record_fleet_resume,
    reopen_fleet,
)
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings, load_settings
from orchestrator.text import plural, safe_text


def resume_fleet(
    run_id: str,
    config: Path | None,
    assignments: tuple[str, ...],
    *,
    dry_run: bool,
    yes: bool,
    ignore_running: bool,
    break_freeze: str | None,
    as_json: bool,
    skip: tuple[str, ...],
) -> int:
    """Resume the unfinished runs of a fleet run from their audit logs."""
    settings = load_settings(config, assignments)
    configure_log(settings.log)
    with reopen_fleet(fleet_store(settings).find_fleet(run_id), run_store(settings)) as fleet:
        if fleet.state.finished is not None:
            if not as_json:
                click.echo("This fleet run is finished; there is nothing to resume.\n")
            print_outcome(read_outcome(read_fleet(settings, fleet.state.fleet_id)), as_json=as_json)
            return fleet.state.finished.exit_code
        options = {"ignore_running": ignore_running, "dry_run": dry_run, "yes": yes, "as_json": as_json}
        do = partial(_open_and_resume, settings, fleet, assignments, skip, break_freeze=break_freeze, **options)
        return anyio.run(do)


async def _open_and_resume(
    settings: Settings,
    fleet: ReopenedFleet,
    assignments: tuple[str, ...],
    skip: tuple[str, ...],
    *,
    ignore_running: bool,
    break_freeze: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    opening = open_fleet_resume(
        fleet,
        settings,
        observe_members(settings),
        assignments=assignments,
        skip=skip,
        ignore_running=ignore_running,
        break_freeze=break_freeze,
        dry_run=dry_run,
    )
    async with opening as plan:
        with last_line(as_json=as_json, nothing="Nothing more"):
            if dry_run and as_json:
                write_document(plan.document(), partial(click.echo, nl=False))
            elif not as_json:
                _print_plan(plan)
            if dry_run:
                if not as_json:
                    click.echo("Nothing was sent: --dry-run.")
                return int(Exit.OK)
            if as_json:
                plan.report_warnings()
            confirm_resume([member.plan for member in plan.members], yes=yes)
        opened = await record_fleet_resume(plan, ignore_running=ignore_running)
        return await carry_out_in_view(settings, opened, as_json=as_json)


def _print_plan(plan: FleetResumePlan) -> None:
    """Print the plan of the resume: a section for every unfinished run."""
    console, state = stdout_console(), plan.fleet.state
    finished = [name for name, run in plan.fleet.runs.items() if run.state.finished is not None]
    console.print(Text.assemble(("Resume of fleet run ", "dim"), (safe_text(state.fleet_id), "bold")))
    console.print()
    for member in plan.members:
        console.print(Text.assemble(("Workspace ", "dim"), (safe_text(member.name), "bold")))
        print_resume_plan(console, member.plan, member.run.state)
    if finished:
        console.print(Text(f"finished already: {plural(len(finished), 'workspace')}", "dim"))
    print_lines(console, fact_lines(console, list_left_out([each.document() for each in plan.left_out])))
