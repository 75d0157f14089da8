"""The beginning of a run: the request, the plan, the confirmation, the claim, and the first two records of the log."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator import __version__
from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import new_run_id
from orchestrator.engine.job import Job
from orchestrator.engine.read.inventory import Inventory
from orchestrator.errors import NotConfirmedError
from orchestrator.moment import timestamp
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan, PlanConstraint
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.target_narrowing import Narrowing
from orchestrator.runs.actor import find_actor
from orchestrator.runs.claims import claim_cvms, read_what_others_changed
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.observer import forward_records
from orchestrator.runs.open_run import OpenRun
from orchestrator.runs.plan_check import find_refusal
from orchestrator.runs.prepare import Prepared, prepare_plan
from orchestrator.runs.records import planned_fields, started_fields
from orchestrator.runs.session import Session
from orchestrator.runs.workspace import WorkspaceIdentity


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request for a run.

    Attributes:
        loaded: the playbook.
        limits: the rate and concurrency limits.
        constraint: the constraint of the plan; None for a new plan.
        origin: the text about the origin of the constraints, for a person.
        origin_fields: the fields of `run.started` about the origin.
        run_id: the id of the run; None for an id generated at the start.
        ignore_running: whether to act on CVMs claimed by another run.
        workspace: the workspace of the constraints; None for a new plan.
        warnings: warnings for a person, beside the plan's own warnings.
        narrowing: the conditions of `--only` and `--exclude`.
        inventory: the CVMs, if read already.
        is_named: whether a person named every CVM.
    """

    loaded: LoadedPlaybook
    limits: RunLimits
    constraint: PlanConstraint | None = None
    origin: str | None = None
    origin_fields: Mapping[str, object] = field(default_factory=dict)
    run_id: str | None = None
    ignore_running: bool = False
    workspace: WorkspaceIdentity | None = None
    warnings: tuple[PlanWarning, ...] = ()
    narrowing: Narrowing | None = None
    inventory: Inventory | None = None
    is_named: bool = False


Confirm = Callable[[Plan], Awaitable[bool]]
"""Asks for the confirmation of a plan without refusal: True to carry the plan out. May raise `NotConfirmedError`."""


async def plan_request(session: Session, request: RunRequest) -> Prepared:
    """Read the inventory, and make the plan of a request, with all warnings for a person.

    Raises:
        CloudError: when the inventory can't be read.
        UsageError: when the API key belongs to another workspace than the plan file or the run to undo.
    """
    prepared = await prepare_plan(
        session, request.loaded, request.constraint, narrowing=request.narrowing, inventory=request.inventory
    )
    other_key = None
    if request.constraint is not None and request.workspace is not None:
        other_key = prepared.workspace.compare_with(request.workspace, request.constraint.source)
    warnings = (*prepared.plan.warnings, *request.warnings, *(() if other_key is None else (other_key,)))
    return replace(prepared, plan=replace(prepared.plan, warnings=warnings))


async def start_run(session: Session, request: RunRequest, prepared: Prepared, confirm: Confirm) -> OpenRun:
    """Check and confirm a plan, claim its CVMs, and begin the log. Sends no changing request.

    Args:
        session: the connection to the cloud.
        request: the request for the run.
        prepared: the plan, by `plan_request`.
        confirm: asks for the confirmation. After a late answer, all statuses are read again.

    Raises:
        NoMatchError: when the selectors match no CVM.
        GuardError: when a guard refuses the plan.
        DriftedError: when all targets of the plan file or the run to undo have changed.
        NotConfirmedError: when the plan is not confirmed.
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        CloudError: when a status can't be read.
        SettingsError: when the claim can't be written.
        AuditError: when the log can't be written.
    """
    plan, size = prepared.plan, prepared.workspace_size
    refusal = find_refusal(plan, request.constraint, is_named=request.is_named)
    if refusal is not None:
        raise refusal
    asked_at, asked_on = session.clock.now(), session.clock.wall()
    run_id = request.run_id or new_run_id(asked_on)
    if not await confirm(plan):
        raise NotConfirmedError("the plan was not confirmed", hint="nothing was sent")
    # Both clocks: the engine's clock stops while a machine sleeps, the wall clock may be set back.
    waited = max(session.clock.now() - asked_at, (session.clock.wall() - asked_on).total_seconds())
    jobs = [Job.from_target(target) for target in plan.targets]
    claim = claim_cvms(session, run_id, [job.ref for job in jobs], ignore_running=request.ignore_running)
    try:
        fresh = await read_what_others_changed(session, claim, jobs, size, prepared.read_at)
        if fresh is None and waited > session.settings.guards.recheck_after:
            fresh = await read_open_statuses(session, jobs, size)
        log, state = _begin_log(session, request, prepared, run_id)
    except BaseException:
        claim.release(has_ended=True)
        raise
    return OpenRun(session.store.get_run(run_id), log, state, jobs, plan.steps, size, claim, fresh)


def _begin_log(session: Session, request: RunRequest, prepared: Prepared, run_id: str) -> tuple[AuditLog, RunState]:
    """Record the actor, the request, and the exact plan."""
    started = started_fields(
        request.loaded,
        actor=find_actor(),
        version=__version__,
        cloud_url=session.endpoint.base_url,
        limits=session.limits,
        simulated=session.is_simulated,
        served=not session.endpoint.simulated and session.is_simulated,
    )
    started.update(prepared.workspace.record_fields())
    started.update(request.origin_fields)
    if request.narrowing is not None:
        started["narrowed"] = request.narrowing.document()
    if request.ignore_running:
        started["ignore_running"] = True
    planned = {**planned_fields(prepared.plan, prepared.workspace_size), "read_at": timestamp(prepared.read_at)}
    state = RunState()
    log = session.store.create_log(
        run_id,
        [(Event.RUN_STARTED, started), (Event.RUN_PLANNED, planned)],
        observers=[state.apply_record, forward_records(session.observer, state)],
    )
    return log, state
