"""The beginning of a fleet run: the confirmation, the claims, the fleet log, and the log of every run.

The order of the writes: `fleet.started`, then the start and the plan of every run, then `fleet.planned` with all run
ids. Requests begin after `fleet.planned`, so a fleet log without this record proves that nothing was sent.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Self

import anyio

from orchestrator import __version__
from orchestrator.audit.fleet_log import FleetEvent, FleetState
from orchestrator.audit.fleet_store import FleetStore, new_fleet_id
from orchestrator.audit.grouped_writer import write_in_groups
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import new_run_ids
from orchestrator.errors import NotConfirmedError, OrchestratorError
from orchestrator.playbook.value_types import Share
from orchestrator.runs.fleet.plan import FleetPlan, WorkspacePlan, find_fleet_refusal
from orchestrator.runs.records import guard_fields
from orchestrator.runs.session import Session
from orchestrator.runs.start import (
    ClaimedTargets,
    OpenRun,
    Wait,
    begin_run,
    claim_jobs,
    complete_claim,
    require_approval,
)
from orchestrator.runs.stores import find_actor
from orchestrator.runs.workspaces import name_errors, name_workspace


@dataclass(slots=True)
class OpenMember:
    """The run of one workspace within an open fleet run.

    Attributes:
        name: the workspace.
        run_id: the run.
        state: the replayed state of the run's log.
        session: the connection to the cloud; None for a run that is finished already.
        opened: the run with its open log; None for a run that is finished already.
    """

    name: str
    run_id: str
    state: RunState
    session: Session | None = None
    opened: OpenRun | None = None


@dataclass(slots=True)
class OpenFleet:
    """A fleet run with open logs, ready to be carried out.

    Attributes:
        log: the fleet log.
        state: the replayed state of the fleet log, kept up to date by the log.
        members: the run of every workspace, in the order of the settings.
        max_failures: the most failures in all workspaces; None without a limit.
    """

    log: AuditLog
    state: FleetState
    members: tuple[OpenMember, ...]
    max_failures: Share | None = None

    @property
    def fleet_id(self) -> str:
        """The id of the fleet run."""
        return self.log.run_id

    @property
    def first(self) -> OpenMember | None:
        """The canary workspace; None without a canary."""
        return next((member for member in self.members if member.name == self.state.started.first), None)

    @property
    def target_count(self) -> int:
        """Number of targets of all plans."""
        return self.state.planned.targets

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close all logs, and release all claims; after the end of a run both are closed already."""
        for member in self.members:
            if member.opened is not None:
                member.opened.__exit__()
        self.log.close()


Confirm = Callable[[FleetPlan], Awaitable[bool]]
"""Asks for the confirmation of a fleet plan without refusal: True to carry the plan out."""


async def start_fleet(
    store: FleetStore,
    plan: FleetPlan,
    confirm: Confirm,
    *,
    fleet_id: str | None = None,
    about: Mapping[str, object] = MappingProxyType({}),
) -> OpenFleet:
    """Check and confirm a fleet plan, claim all targets, and begin all logs. Sends no changing request.

    Args:
        store: the store of fleet logs.
        plan: the plan, by `plan_fleet`.
        confirm: asks for the confirmation. After a late answer, all statuses are read again.
        fleet_id: the id of the fleet run; None for an id generated at the start.
        about: further fields of `fleet.started`, such as `trigger`.

    Raises:
        NoMatchError: when the selectors match no CVM in any workspace.
        GuardError: when a guard refuses the plan of a workspace, or the total.
        ApprovalError: when the settings want an approved plan, and the playbook is not exempt.
        DriftedError: when all targets of an earlier plan have changed.
        NotConfirmedError: when the plan is not confirmed.
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        CloudError: when a status can't be read.
        SettingsError: when a claim or a log can't be written.
        AuditError: when the fleet log can't be written.
    """
    refusal = find_fleet_refusal(plan)
    if refusal is not None:
        raise refusal
    for each in plan.workspaces:
        if each.session.settings.approval.keys:
            require_approval(each.session, each.request)
    clock = plan.workspaces[0].session.clock
    wait = Wait(clock)
    if not await confirm(plan):
        raise NotConfirmedError("the plan was not confirmed", hint="nothing was sent")
    fleet_id = fleet_id or new_fleet_id(wait.asked_on)
    waited = wait.seconds
    claimed = await _claim_all(plan.workspaces, waited)
    try:
        return await _begin_logs(store, plan, fleet_id, claimed, about)
    except BaseException:
        _release_all(claimed.values())
        raise


async def _claim_all(workspaces: Iterable[WorkspacePlan], waited: float) -> dict[str, ClaimedTargets]:
    """Claim the targets of all workspaces, or of none."""
    workspaces = tuple(workspaces)
    claimed: dict[str, ClaimedTargets] = {}
    errors: list[OrchestratorError] = []
    run_ids = new_run_ids(workspaces[0].session.clock.wall(), len(workspaces))

    async def complete(each: WorkspacePlan) -> None:
        """Complete the claim of one workspace; keep its error."""
        try:
            claimed[each.name] = await complete_claim(each.session, each.prepared, claimed[each.name], waited=waited)
        except OrchestratorError as error:
            errors.append(name_workspace(error, each.name))

    try:
        # All workspaces share the state folder, and so the claims: the other claims are read once.
        with workspaces[0].session.claims.open_batch() as batch:
            for each, run_id in zip(workspaces, run_ids, strict=True):
                with name_errors(each.name):
                    claimed[each.name] = claim_jobs(each.session, each.request, each.prepared, run_id, batch)
        async with anyio.create_task_group() as group:
            for each in workspaces:
                group.start_soon(complete, each)
    except BaseException:
        _release_all(claimed.values())
        raise
    if errors:
        _release_all(claimed.values())
        raise errors[0]
    return claimed


def _release_all(claimed: Iterable[ClaimedTargets]) -> None:
    for each in claimed:
        each.claim.release(has_ended=True)


async def _begin_logs(
    store: FleetStore, plan: FleetPlan, fleet_id: str, claimed: dict[str, ClaimedTargets], about: Mapping[str, object]
) -> OpenFleet:
    state = FleetState(fleet_id)
    log = await store.begin_log(
        fleet_id, [(FleetEvent.FLEET_STARTED, {**_started_fields(plan), **about})], [state.apply_record]
    )
    fleet = OpenFleet(log, state, (), plan.max_failures)
    try:
        for each in plan.workspaces:
            request = replace(each.request, fleet_id=fleet_id)
            opened = await begin_run(each.session, request, each.prepared, claimed[each.name])
            member = OpenMember(each.name, opened.log.run_id, opened.state, each.session, opened)
            fleet.members = (*fleet.members, member)
        log.record(FleetEvent.FLEET_PLANNED, **_planned_fields(plan, fleet.members))
        await log.flush()
        write_in_groups([log, *(each.opened.log for each in fleet.members if each.opened is not None)])
    except BaseException:
        fleet.__exit__()
        raise
    return fleet


def _started_fields(plan: FleetPlan) -> dict[str, object]:
    loaded = plan.loaded
    return {
        "actor": find_actor(),
        "version": __version__,
        "playbook": {"name": loaded.playbook.name, "path": loaded.path, "sha256": loaded.sha256},
        "vars": dict(loaded.variables),
        "workspaces": [each.name for each in plan.workspaces],
        "first": plan.first,
        "max_failures": None if plan.max_failures is None else str(plan.max_failures),
        "left_out": [each.document() for each in plan.left_out],
    }


def _planned_fields(plan: FleetPlan, members: Iterable[OpenMember]) -> dict[str, object]:
    counts = {each.name: len(each.plan.targets) for each in plan.workspaces}
    return {
        "runs": [{"workspace": each.name, "run_id": each.run_id, "targets": counts[each.name]} for each in members],
        "guards": [guard_fields(check) for check in plan.guards],
    }
