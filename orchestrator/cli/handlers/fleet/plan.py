"""A plan over several workspaces: `orchestrator plan`, and the plan of `run` before its confirmation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import click

from orchestrator.audit.events import Event
from orchestrator.cli.log_observer import LogObserver
from orchestrator.cli.print_error import print_error
from orchestrator.errors import UsageError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.report.fleet.document import fleet_plan_document
from orchestrator.runs.fleet.members import (
    LeftOut,
    Member,
    Observe,
    limits_of_members,
    open_sessions,
    read_usable_members,
)
from orchestrator.runs.fleet.plan import FleetPlan, WorkspaceRequest, find_fleet_refusal, plan_fleet
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.start import RunRequest
from orchestrator.settings.load import Settings

if TYPE_CHECKING:
    from orchestrator.audit.record import Record
    from orchestrator.audit.replay import RunState

_BEGINNINGS = frozenset({Event.RUN_STARTED, Event.RUN_RESUMED})


class FleetRequest(Protocol):
    """Request for a fleet run."""

    @property
    def loaded(self) -> LoadedPlaybook:
        """The playbook."""

    def list_requests(self, sessions: Mapping[str, Session]) -> tuple[WorkspaceRequest, ...]:
        """List the request of every workspace."""


@dataclass(frozen=True, slots=True)
class PlaybookRequest:
    """Request to run a playbook in several workspaces.

    Attributes:
        loaded: the playbook.
        narrowing: the conditions of `--only` and `--exclude`.
        ignore_running: whether to act on CVMs claimed by another run.
        overrides: the decisions to act despite freezes and exemptions.
    """

    loaded: LoadedPlaybook
    narrowing: Narrowing | None = None
    ignore_running: bool = False
    overrides: Overrides = NO_OVERRIDES

    def list_requests(self, sessions: Mapping[str, Session]) -> tuple[WorkspaceRequest, ...]:
        """List the request of every workspace."""
        return tuple(
            WorkspaceRequest(
                name,
                session,
                RunRequest(
                    self.loaded,
                    session.limits,
                    ignore_running=self.ignore_running,
                    narrowing=self.narrowing,
                    overrides=self.overrides,
                ),
            )
            for name, session in sessions.items()
        )


def observe_members(settings: Settings) -> Observe:
    """Return a function for the observer of a run, by the name of the workspace."""

    def observe(name: str) -> RunObserver:
        return _MemberObserver(settings.for_workspace(name))

    return observe


class _MemberObserver(LogObserver):
    """Log of a workspace's run, without the interruption: one line covers the interruption of all runs.

    On a terminal the same holds for the start and the resume, since the view has a line for every workspace.
    """

    def on_record(self, record: "Record", state: "RunState") -> None:
        """Log a record of interest to a person."""
        from orchestrator.cli.event_log import logs_each_cvm  # noqa: PLC0415 - takes long to import

        if record["event"] not in _BEGINNINGS or logs_each_cvm(self._settings):
            super().on_record(record, state)

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Log a warning."""
        if event != "interrupting":
            super().on_warning(event, **facts)


def show_fleet_plan(
    settings: Settings,
    names: tuple[str, ...],
    request: FleetRequest,
    *,
    skip: tuple[str, ...],
    details: bool,
    form: str,
    has_out: bool,
) -> int:
    """Print the plan of a playbook over several workspaces. Sends no changing request."""
    refuse_plan_file(names, has_out=has_out)
    members, left_out = read_usable_members(settings, names, {*skip} - {request.loaded.playbook.fleet.first})
    plan = anyio.run(partial(_read_and_plan, settings, members, request, skip, left_out))
    return _print_result(plan, details=details, form=form)


def refuse_plan_file(names: tuple[str, ...], *, has_out: bool) -> None:
    """Refuse a plan file for several workspaces.

    Raises:
        UsageError: when a plan file is wanted.
    """
    if has_out:
        raise UsageError(
            f"--out writes the plan of one workspace, but {len(names)} workspaces match",
            hint=f"write a plan file for each workspace: --workspace {names[0]} --out FILE",
        )


async def _read_and_plan(
    settings: Settings,
    members: tuple[Member, ...],
    request: FleetRequest,
    skip: tuple[str, ...],
    left_out: tuple[LeftOut, ...],
) -> FleetPlan:
    limits = limits_of_members(members, request.loaded)
    async with open_sessions(members, limits, observe_members(settings), few=True) as sessions:
        requests = request.list_requests(sessions)
        return await plan_fleet(request.loaded, requests, base_guards=settings.guards, skip=skip, left_out=left_out)


def list_plans(plan: FleetPlan) -> list[tuple[str, Plan]]:
    """List the name and the plan of every workspace."""
    return [(each.name, each.plan) for each in plan.workspaces]


def describe_total(plan: FleetPlan) -> dict[str, Any]:
    """Return the facts of the plan as a whole, in the form for `report.fleet`."""
    left_out = [each.document() for each in plan.left_out]
    return {"guards": plan.guards, "first": plan.first, "left_out": left_out, "warnings": plan.warnings}


def plan_document_of(plan: FleetPlan) -> dict[str, Any]:
    """Build the document of a plan over several workspaces."""
    return fleet_plan_document(list_plans(plan), **describe_total(plan))


def _print_result(plan: FleetPlan, *, details: bool, form: str) -> int:
    error, plans, about = find_fleet_refusal(plan), list_plans(plan), describe_total(plan)
    description = plan.loaded.playbook.description
    if form == "text":
        from orchestrator.cli.consoles import stdout_console  # noqa: PLC0415 - only the format that was asked for
        from orchestrator.report.fleet.plan_text import print_fleet_plan  # noqa: PLC0415 - the same

        print_fleet_plan(stdout_console(), plans, description, details=details, **about)
    elif form == "md":
        from orchestrator.report.fleet.plan_markdown import render_fleet_plan_markdown  # noqa: PLC0415 - the same

        refusal = None if error is None else error.message
        click.echo(render_fleet_plan_markdown(plans, description, refusal=refusal, details=details, **about))
    elif error is None:
        click.echo(json.dumps(plan_document_of(plan), indent=2))
    if error is None:
        return int(Exit.OK)
    print_error(error, as_json=form == "json", extra=plan_document_of(plan))
    return int(error.exit_code)
