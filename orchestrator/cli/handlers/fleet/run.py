"""A run over several workspaces: plan, confirm, act, watch until settled."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TextIO

import anyio
import click

from orchestrator.cli.confirmation import ask_about_key, confirm_plan, has_nothing_to_do, last_line
from orchestrator.cli.handlers.fleet.plan import (
    FleetRequest,
    describe_total,
    list_plans,
    observe_members,
    plan_document_of,
)
from orchestrator.cli.handlers.run import notify_refusal_of
from orchestrator.cli.print_error import print_error
from orchestrator.errors import OrchestratorError
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.report.fleet.totals import merge_plans, name_workspaces
from orchestrator.runs.fleet.members import LeftOut, Member, limits_of_members, open_sessions, read_usable_members
from orchestrator.runs.fleet.plan import FleetPlan, plan_fleet
from orchestrator.runs.fleet.start import OpenFleet, start_fleet
from orchestrator.runs.session import Session
from orchestrator.runs.stores import fleet_store, run_store
from orchestrator.settings.load import Settings
from orchestrator.text import safe_text


@dataclass(frozen=True, slots=True)
class FleetCommand:
    """Request for a fleet run, with the options of a command line.

    Attributes:
        request: the request.
        skip: the workspaces to leave out if unreachable.
        yes: whether `--yes` is given.
        expect: the number of `--expect`.
        as_json: whether stdout is for a JSON document.
        origin: the text about the origin of the request, for a person.
        about: further fields of `fleet.started`.
    """

    request: FleetRequest
    skip: tuple[str, ...]
    yes: bool
    expect: int | None
    as_json: bool
    origin: str | None = None
    about: Mapping[str, object] = field(default_factory=dict)


def run_fleet(settings: Settings, names: tuple[str, ...], command: FleetCommand) -> int:
    """Carry out a fleet run; returns the exit code."""
    run_store(settings).prepare()
    first = command.request.loaded.playbook.fleet.first
    members, left_out = read_usable_members(settings, names, {*command.skip} - {first})
    return anyio.run(partial(_open_and_run, settings, members, left_out, command))


async def _open_and_run(
    settings: Settings, members: tuple[Member, ...], left_out: tuple[LeftOut, ...], command: FleetCommand
) -> int:
    limits = limits_of_members(members, command.request.loaded)
    async with open_sessions(members, limits, observe_members(settings)) as sessions:
        fleet = await _plan_and_start(settings, sessions, left_out, command)
        if isinstance(fleet, int):
            return fleet
        from orchestrator.cli.handlers.fleet.carry_out import carry_out_in_view  # noqa: PLC0415 - takes long to import

        with fleet:
            return await carry_out_in_view(settings, fleet, as_json=command.as_json)


async def _plan_and_start(
    settings: Settings, sessions: Mapping[str, Session], left_out: tuple[LeftOut, ...], command: FleetCommand
) -> OpenFleet | int:
    """Plan, ask, and begin the logs; returns an exit code for a refused plan."""
    request, meant, as_json = command.request, command.yes or command.expect is not None, command.as_json
    notify = partial(notify_refusal_of, next(iter(sessions.values())), request.loaded, meant=meant)
    try:
        requests = request.list_requests(sessions)
        plan = await plan_fleet(
            request.loaded, requests, base_guards=settings.guards, skip=command.skip, left_out=left_out
        )
    except OrchestratorError as failure:
        await notify(failure)
        raise
    if not as_json:
        _print_plan(command, plan, sys.stdout)
    try:
        with last_line(as_json=as_json):
            fleet = await start_fleet(fleet_store(settings), plan, partial(_confirm, command), about=command.about)
    except OrchestratorError as refused:
        print_error(refused, as_json=as_json, extra=plan_document_of(plan))
        await notify(refused)
        return int(refused.exit_code)
    if not as_json:
        click.echo("" if plan.target_count else "Nothing to do: 0 targets.\n")
    return fleet


async def _confirm(command: FleetCommand, plan: FleetPlan) -> bool:
    """Get a confirmation of the total, and of other API keys: `--expect` is about the number of CVMs alone."""
    total = merge_plans([each.plan for each in plan.workspaces])
    seen = not command.as_json and sys.stdout.isatty()
    left_out = [safe_text(each.name, 64) for each in plan.left_out]
    confirm_plan(
        total,
        yes=command.yes,
        expect=command.expect,
        show=None if seen else partial(_print_plan, command, plan),
        about=f"Left out, because unreachable: {name_workspaces(left_out)}.\n" if left_out else "",
    )
    if command.expect is not None and not command.yes and not has_nothing_to_do(total):
        for each in plan.workspaces:
            for warning in each.plan.warnings:
                if warning.code is WarningCode.OTHER_KEY:
                    ask_about_key(f"workspace {safe_text(each.name, 64)}: {warning.message}")
    # Loaded before the logs begin, because the load takes long and a signal in between cuts the run short.
    import_module("orchestrator.cli.handlers.fleet.carry_out")
    return True


def _print_plan(command: FleetCommand, plan: FleetPlan, stream: TextIO) -> None:
    from orchestrator.cli.consoles import console_on  # noqa: PLC0415 - the requests had to go out first
    from orchestrator.report.fleet.plan_text import print_fleet_plan  # noqa: PLC0415 - the same
    from orchestrator.report.layout import print_lines, prose_lines  # noqa: PLC0415 - the same

    console = console_on(stream)
    if command.origin is not None:
        print_lines(console, prose_lines(console, command.origin))
        console.print()
    print_fleet_plan(console, list_plans(plan), plan.loaded.playbook.description, **describe_total(plan))
