"""The plan of a fleet run: a plan for each workspace, and the guards of the total."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio

from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.errors import CloudError, GuardError, KeyRefusedError, NoMatchError, OrchestratorError, UsageError
from orchestrator.playbook.guards import GuardCheck, check_totals, merge_guards
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Fleet, Guards
from orchestrator.playbook.value_types import Share
from orchestrator.runs.fleet.members import MOST_HINTS, LeftOut, skip_options
from orchestrator.runs.prepare import Prepared, find_refusal
from orchestrator.runs.session import Session
from orchestrator.runs.start import RunRequest, plan_request
from orchestrator.runs.workspaces import name_workspace
from orchestrator.text import join_names, plural
from orchestrator.times import format_duration

_MOST_NAMED = 10
_SLOW_READ = 10.0
"""Seconds before a report of workspaces not read yet."""


@dataclass(frozen=True, slots=True)
class WorkspaceRequest:
    """The request for the run of one workspace.

    Attributes:
        name: the workspace.
        session: the connection to the cloud.
        request: the request.
    """

    name: str
    session: Session
    request: RunRequest


@dataclass(frozen=True, slots=True)
class WorkspacePlan:
    """The plan of one workspace, and its sources.

    Attributes:
        name: the workspace.
        session: the connection to the cloud.
        request: the request.
        prepared: the plan and its sources.
    """

    name: str
    session: Session
    request: RunRequest
    prepared: Prepared

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.prepared.plan


@dataclass(frozen=True, slots=True)
class PlanTotals:
    """The totals of one workspace's plan, for the guards over all workspaces.

    Attributes:
        targets: the number of targets.
        up: the number of CVMs up now.
        starts: the number of targets to start.
        whole_of_starts: the number of CVMs behind a percentage of starts.
        has_matches: whether the selectors match any CVM.
    """

    targets: int
    up: int
    starts: int
    whole_of_starts: int
    has_matches: bool


def sum_plan(plan: Plan, whole_of_starts: int | None = None) -> PlanTotals:
    """Count the totals of a plan.

    Args:
        plan: the plan.
        whole_of_starts: for an undo, the number of CVMs up at the time of the stops.
    """
    starts = sum(target.action.starts_cvms for target in plan.targets)
    whole = len(plan.cvms) if whole_of_starts is None else whole_of_starts
    return PlanTotals(len(plan.targets), plan.up, starts, whole, plan.has_matches)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The plans of all workspaces.

    Attributes:
        loaded: the playbook.
        workspaces: the plan of every workspace, in the order of the settings.
        left_out: the unreachable workspaces.
        guards: the checks of the total.
        first: name of the canary workspace; None without a canary.
        max_failures: the most failures in all workspaces; None without a limit.
        warnings: warnings about the fleet run as a whole.
    """

    loaded: LoadedPlaybook
    workspaces: tuple[WorkspacePlan, ...]
    left_out: tuple[LeftOut, ...]
    guards: tuple[GuardCheck, ...]
    first: str | None
    max_failures: Share | None
    warnings: tuple[str, ...] = ()

    @property
    def target_count(self) -> int:
        """Number of targets in all workspaces."""
        return sum(len(each.plan.targets) for each in self.workspaces)


async def plan_fleet(
    loaded: LoadedPlaybook,
    requests: Sequence[WorkspaceRequest],
    *,
    base_guards: Guards,
    skip: Collection[str] = (),
    left_out: Sequence[LeftOut] = (),
) -> FleetPlan:
    """Read all inventories at the same time, and make all plans.

    Args:
        loaded: the playbook.
        requests: the request of every workspace, in the order of the settings.
        base_guards: the guards of the settings, without the guards of single workspaces.
        skip: names of workspaces to leave out if unreachable.
        left_out: the workspaces left out already, because their keys are unusable.

    Raises:
        CloudError: when a workspace can't be read, and is not in `skip`; the error names all such workspaces.
        UsageError: when two workspaces have the same id, or when the canary or a name of `skip` is no workspace here.
    """
    fleet, playbook = loaded.playbook.fleet, loaded.playbook
    names = [each.name for each in requests]
    require_known(fleet.first, names, "the playbook's `fleet.first`")
    for name in skip:
        require_known(name, [*names, *(each.name for each in left_out)], "--skip-unreachable")
    plans: dict[str, WorkspacePlan] = {}
    errors: dict[str, OrchestratorError] = {}

    async def plan_one(each: WorkspaceRequest) -> None:
        """Plan one workspace; keep its error."""
        try:
            plans[each.name] = await _plan_workspace(each, needs_whole=fleet.max_percent is not None)
        except OrchestratorError as error:
            errors[each.name] = each.session.endpoint.explain(error)

    async with anyio.create_task_group() as reports:
        reports.start_soon(report_slow_reads, {each.name: each.session for each in requests}, plans, errors)
        async with anyio.create_task_group() as group:
            for each in requests:
                group.start_soon(plan_one, each)
        reports.cancel_scope.cancel()
    # Without the canary workspace, the other workspaces would begin unproven.
    unreachable = leave_out(errors, {*skip} - {fleet.first}, names)
    workspaces = tuple(plans[name] for name in names if name in plans)
    _refuse_same_ids(workspaces)
    limit = playbook.limits.max_failures if fleet.max_failures is None else fleet.max_failures
    guards = check_fleet(loaded, base_guards, list(map(_sum_workspace, workspaces)))
    warnings = tuple(
        f"--skip-unreachable {name}: the workspace can be read, so its CVMs are in this plan"
        for name in skip
        if name in plans
    )
    return FleetPlan(loaded, workspaces, (*left_out, *unreachable), guards, fleet.first, limit, warnings)


async def report_slow_reads(sessions: Mapping[str, Session], *done: Collection[str]) -> None:
    """Report the workspaces not read in time, once.

    Args:
        sessions: the connection to the cloud, by workspace.
        *done: the names of workspaces read, or with an error.
    """
    await anyio.sleep(_SLOW_READ)
    slow = [name for name in sessions if not any(name in each for each in done)]
    for name in slow[:MOST_HINTS]:
        note = f"The CVMs are not read yet after {format_duration(_SLOW_READ)}"
        sessions[name].observer.on_warning("api.wait", note=f"{note}, in {len(slow)} of {len(sessions)} workspaces.")


def find_fleet_refusal(plan: FleetPlan) -> OrchestratorError | None:
    """Return the reason to refuse the plan of a fleet run; None for a valid plan."""
    by_total = refuse_totals(plan.guards)
    if by_total is not None:
        return by_total
    for each in plan.workspaces:
        refusal = find_refusal(each.plan, each.request.constraint, may_be_empty=True)
        if refusal is not None:
            return name_workspace(refusal, each.name)
    return None if plan.target_count else _refuse_without_targets(plan)


def refuse_totals(checks: Sequence[GuardCheck]) -> GuardError | None:
    """Return the error for the failed guards of the total; None without one."""
    refused = [check for check in checks if not check.ok]
    if not refused:
        return None
    reasons = "; ".join(f"{check.name}: {check.message}" for check in refused)
    hint = "narrow the select, or raise the guard of the total on purpose"
    return GuardError(f"refused by a guard of the total: {reasons}", hint=hint)


def refuse_without_matches(workspaces: int) -> NoMatchError:
    """Return the error for selectors without a match in any workspace."""
    where = plural(workspaces, "workspace")
    return NoMatchError(f"the selectors matched no CVM in {where}", hint="`orchestrator cvms` lists the inventory")


def _refuse_without_targets(plan: FleetPlan) -> OrchestratorError | None:
    """Return the reason to refuse a plan without targets; None if all CVMs are as wanted already."""
    for each in plan.workspaces:
        if (each.plan.has_matches or each.plan.drifted) and each.request.wake is None:
            refusal = find_refusal(each.plan, each.request.constraint, is_named=each.request.is_named)
            if refusal is not None:
                return name_workspace(refusal, each.name)
    if any(each.plan.has_matches or each.request.wake is not None for each in plan.workspaces):
        return None
    return refuse_without_matches(len(plan.workspaces))


async def _plan_workspace(each: WorkspaceRequest, *, needs_whole: bool) -> WorkspacePlan:
    session, request = each.session, each.request
    if needs_whole and request.inventory is None:
        reader = InventoryReader(session.cloud, session.gate, session.rng)
        request = replace(request, inventory=await reader.read_all())
    prepared = await plan_request(session, request)
    return WorkspacePlan(each.name, session, replace(request, inventory=None), prepared)


def require_known(name: str | None, names: Sequence[str], source: str) -> None:
    """Refuse the name of a workspace outside the order; None is no name.

    Raises:
        UsageError: when the name is unknown.
    """
    if name is not None and name not in names:
        raise UsageError(
            f"{source} names {name!r}, but the chosen workspaces are {join_names(names)}",
            hint="name one of these workspaces, or add it with --workspace",
        )


def leave_out(errors: dict[str, OrchestratorError], skip: Collection[str], names: Sequence[str]) -> tuple[LeftOut, ...]:
    """Return the workspaces to leave out.

    Raises:
        CloudError: when other workspaces are unreachable, or all of them.
        OrchestratorError: when a workspace has an error of another kind.
    """
    for name, error in errors.items():
        if not isinstance(error, CloudError):
            raise name_workspace(error, name)
    missing = [name for name in names if name in errors and (name not in skip or len(errors) == len(names))]
    if missing:
        shown = "; ".join(name_workspace(errors[name], name).message for name in missing[:_MOST_NAMED])
        more = f"; and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise CloudError(
            f"{len(missing)} of {plural(len(names), 'workspace')} can't be read, and nothing was sent: {shown}{more}",
            hint=_advise(errors, missing),
        )
    return tuple(LeftOut(name, errors[name].message) for name in names if name in errors)


def _advise(errors: Mapping[str, OrchestratorError], missing: Sequence[str]) -> str:
    """Name the sources of refused keys, and the option to leave workspaces out."""
    refused = [error.hint for name in missing if isinstance(error := errors[name], KeyRefusedError) and error.hint]
    other = ["try again later"] if len(refused) < len(missing) else []
    return f"{'; '.join([*refused[:MOST_HINTS], *other])}; or leave out: {skip_options(missing)}"


def _refuse_same_ids(workspaces: Sequence[WorkspacePlan]) -> None:
    by_id: dict[str, str] = {}
    for each in workspaces:
        found = each.prepared.workspace.id
        if found is not None and found in by_id:
            raise UsageError(
                f"workspaces {by_id[found]} and {each.name} of the settings are the same workspace {found}",
                hint="remove one of these workspaces from the settings, or name a single workspace with --workspace",
            )
        if found is not None:
            by_id[found] = each.name


def _guards_of_total(fleet: Fleet, guards: Guards) -> Guards:
    """Return the guards of the total: the value of `fleet`, else the value for each workspace."""
    return Guards.model_construct(
        max_targets=fleet.max_targets or guards.max_targets,
        max_percent=guards.max_percent if fleet.max_percent is None else fleet.max_percent,
    )


def check_fleet(loaded: LoadedPlaybook, base_guards: Guards, totals: Sequence[PlanTotals]) -> tuple[GuardCheck, ...]:
    """Check the guards over all workspaces.

    Args:
        loaded: the playbook.
        base_guards: the guards of the settings, without the guards of single workspaces.
        totals: the totals of every workspace's plan.
    """
    guards = merge_guards(loaded.playbook.guards, base_guards)
    return check_totals(
        _guards_of_total(loaded.playbook.fleet, guards),
        targets=sum(each.targets for each in totals),
        up=sum(each.up for each in totals),
        starts=sum(each.starts for each in totals),
        whole_of_starts=sum(each.whole_of_starts for each in totals),
        workspaces=len(totals),
    )


def _sum_workspace(workspace: WorkspacePlan) -> PlanTotals:
    constraint = workspace.request.constraint
    whole = None if constraint is None else constraint.whole_of_starts(workspace.plan.cvms)
    return sum_plan(workspace.plan, None if whole is None else whole.number)
