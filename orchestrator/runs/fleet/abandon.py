"""End the unfinished runs of a fleet run without a request to their CVMs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from orchestrator.errors import CloudError, OrchestratorError
from orchestrator.outcome import Ending, Exit
from orchestrator.runs.abandon import abandon_run
from orchestrator.runs.fleet.execute import FleetResult, describe_finished, record_end, record_result
from orchestrator.runs.fleet.members import Member, Observe, open_sessions
from orchestrator.runs.fleet.resume import ReopenedFleet
from orchestrator.runs.records import limits_from
from orchestrator.runs.resume import ReopenedRun
from orchestrator.runs.session import Endpoint, Session
from orchestrator.runs.workspaces import name_workspace
from orchestrator.settings.load import Settings


@asynccontextmanager
async def open_fleet_sessions(
    fleet: ReopenedFleet, settings: Settings, observe: Observe
) -> AsyncIterator[dict[str, Session]]:
    """Connect to the workspaces of all unfinished runs, for the length of the block.

    A fleet run without a plan sent nothing, so the statuses are not read, and no key is needed.

    Raises:
        SettingsError: when a key is missing or unusable; the error names the workspace.
        UsageError: when the settings lack a workspace, or when its address is not the address of the run.
    """
    members = fleet.read_members(settings) if fleet.state.has_plan else _list_members_without_key(fleet, settings)
    limits = {name: limits_from(run.state.started.limits) for name, run in fleet.open_runs.items()}
    async with open_sessions(members, limits, observe, few=not fleet.state.has_plan) as sessions:
        yield sessions


def _list_members_without_key(fleet: ReopenedFleet, settings: Settings) -> tuple[Member, ...]:
    return tuple(
        Member(name, settings.for_workspace(name), Endpoint(run.state.started.cloud_url, api_key=""))
        for name, run in fleet.open_runs.items()
    )


async def abandon_fleet(fleet: ReopenedFleet, sessions: Mapping[str, Session], reason: str) -> FleetResult:
    """Record the end of every unfinished run, and the end of the fleet run.

    Args:
        fleet: the fleet run.
        sessions: the connection to the cloud for every unfinished run, by workspace.
        reason: the reason, for the records.

    Raises:
        CloudError: when a status can't be read; the runs of all other workspaces are abandoned all the same.
        UsageError: when a key belongs to another workspace; likewise.
        AuditError: when a log can't be written.
    """
    errors: dict[str, OrchestratorError] = {}
    nothing_sent = not fleet.state.has_plan

    async def abandon_one(name: str, run: ReopenedRun) -> None:
        """Abandon one run; keep its error."""
        try:
            result = await abandon_run(sessions[name], run, reason, nothing_sent=nothing_sent)
        except OrchestratorError as error:
            errors[name] = error
        else:
            if result.error is not None:
                errors[name] = result.error

    await fleet.record_resume(to_abandon=True)
    async with anyio.create_task_group() as group:
        for name, run in fleet.open_runs.items():
            group.start_soon(abandon_one, name, run)
    opened = fleet.describe_open()
    if fleet.runs:
        result = await record_end(opened, tuple(map(describe_finished, opened.members)))
    else:
        nothing_began = FleetResult(Exit.ENDED_EARLY, Ending.ABANDONED, (), has_finished=True)
        result = await record_result(opened, nothing_began)
    for name, error in errors.items():
        if isinstance(error, CloudError):
            error.hint = f"later: `orchestrator abandon {fleet.state.fleet_id}` again"
        raise name_workspace(error, name)
    return result
