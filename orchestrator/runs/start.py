"""The beginning of a run: the request, the plan, the confirmation, the claim, the first two records of the log.

The result is an open run, ready to be carried out by `execute`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self

from orchestrator import __version__
from orchestrator.audit.claims import Claim, ClaimBatch
from orchestrator.audit.events import Event
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, new_run_id
from orchestrator.engine.job import Job
from orchestrator.engine.protocols import Clock
from orchestrator.engine.read.inventory import Inventory
from orchestrator.engine.read.status import Observation
from orchestrator.errors import NotConfirmedError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan, PlanConstraint
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned, Question, RunLimits
from orchestrator.runs.claims import read_what_others_changed
from orchestrator.runs.freeze import RunFreeze, freeze_fields
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides, Prepared, find_refusal, prepare_plan
from orchestrator.runs.records import planned_fields, started_fields
from orchestrator.runs.session import Session, WorkspaceIdentity
from orchestrator.runs.stores import find_actor
from orchestrator.times import timestamp

if TYPE_CHECKING:
    from orchestrator.runs.signed_start import SignedStart
    from orchestrator.runs.wake import WakeOrder


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run with an open log, ready to be carried out. The plan itself is not kept, to save memory.

    Attributes:
        stored: the run in its store.
        log: the open audit log.
        state: the replayed state of the log, kept up to date by the log.
        jobs: every target.
        steps: the steps in order.
        workspace_size: the number of CVMs in the inventory; 0 when only some apps were read.
        claim: the run's claim on its CVMs; None for a run to abandon.
        fresh: the statuses read just now, by the CVM's key.
        freeze: the freezes to obey.
    """

    stored: StoredRun
    log: AuditLog
    state: RunState
    jobs: list[Job]
    steps: Sequence[AnyPlanned]
    workspace_size: int
    claim: Claim | None = None
    fresh: Mapping[str, Observation] | None = None
    freeze: RunFreeze = field(default_factory=RunFreeze)

    @property
    def has_questions(self) -> bool:
        """Whether a step asks a person."""
        return any(isinstance(step, Question) for step in self.steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the log, and release the claim; after the end of the run both are closed already."""
        self.log.close()
        if self.claim is not None:
            self.claim.release(has_ended=False)


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
        fleet_id: the fleet run of the run; None for a run of its own.
        overrides: the decisions to act despite freezes and exemptions.
        signed: the approved plan file and the starter's key; None without a plan file.
        wake: the wake to read before the plan, also the constraint; None for any other request.
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
    fleet_id: str | None = None
    overrides: Overrides = NO_OVERRIDES
    signed: "SignedStart | None" = None
    wake: "WakeOrder | None" = None


Confirm = Callable[[Plan], Awaitable[bool]]
"""Asks for the confirmation of a plan without refusal: True to carry the plan out. May raise `NotConfirmedError`."""


async def plan_request(session: Session, request: RunRequest) -> Prepared:
    """Read the inventory, and make the plan of a request, with all warnings for a person.

    Raises:
        CloudError: when the inventory can't be read.
        UsageError: when the API key belongs to another workspace than the plan file or the run to undo.
        ClaimedError: when a process still carries out a run of the playbook to wake.
    """
    if request.wake is not None:
        await request.wake.read(session)
    prepared = await prepare_plan(
        session,
        request.loaded,
        request.constraint,
        narrowing=request.narrowing,
        inventory=request.inventory,
        overrides=request.overrides,
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
        ApprovalError: when the settings want an approved plan, and the plan is not approved.
        DriftedError: when all targets of the plan file or the run to undo have changed.
        NotConfirmedError: when the plan is not confirmed.
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        CloudError: when a status can't be read.
        SettingsError: when the claim can't be written.
        AuditError: when the log can't be written.
    """
    may_be_empty = request.fleet_id is not None or request.wake is not None
    refusal = find_refusal(prepared.plan, request.constraint, is_named=request.is_named, may_be_empty=may_be_empty)
    if refusal is not None:
        raise refusal
    if session.settings.approval.keys:
        require_approval(session, request)
    wait = Wait(session.clock)
    run_id = request.run_id or new_run_id(wait.asked_on)
    if not await confirm(prepared.plan):
        raise NotConfirmedError("the plan was not confirmed", hint="nothing was sent")
    claimed = claim_jobs(session, request, prepared, run_id)
    targets = await complete_claim(session, prepared, claimed, waited=wait.seconds)
    return await begin_run(session, request, prepared, targets)


def require_approval(session: Session, request: RunRequest) -> None:
    """Refuse an unapproved plan where the settings want approved plans; `begin_run` checks again.

    Raises:
        ApprovalError: when the plan is not approved.
    """
    from orchestrator.runs.signed_start import check_start  # noqa: PLC0415 - most settings have no keys

    check_start(session, request)


class Wait:
    """The wait for an answer, by both clocks: one stops while a machine sleeps, the other may be set back.

    Attributes:
        asked_on: the time of day at the question.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._asked_at, self.asked_on = clock, clock.now(), clock.wall()

    @property
    def seconds(self) -> float:
        """Seconds since the question."""
        return max(self._clock.now() - self._asked_at, (self._clock.wall() - self.asked_on).total_seconds())


@dataclass(frozen=True, slots=True)
class ClaimedTargets:
    """The targets of a confirmed plan, claimed for the run.

    Attributes:
        run_id: the id of the run.
        jobs: every target.
        claim: the run's claim on its CVMs.
        fresh: the statuses read just now, by the CVM's key; None when the statuses of the plan still hold.
    """

    run_id: str
    jobs: list[Job]
    claim: Claim
    fresh: Mapping[str, Observation] | None = None


def claim_jobs(
    session: Session, request: RunRequest, prepared: Prepared, run_id: str, batch: ClaimBatch | None = None
) -> ClaimedTargets:
    """Claim the targets of a confirmed plan; `complete_claim` reads outdated statuses.

    Args:
        session: the connection to the cloud.
        request: the request for the run.
        prepared: the plan.
        run_id: the id of the run.
        batch: the claims made together with this claim.

    Raises:
        GuardError: when a freeze began since the plan.
        ClaimedError: when a live run claims one of the CVMs, unless ignored.
        SettingsError: when the claim can't be written.
    """
    prepared.freeze.refuse((target.action for target in prepared.plan.targets), session.clock.wall())
    keep = session.read_keep(None if prepared.keep is None else prepared.keep.ignored)
    if keep is not None and keep != prepared.keep:
        keep.refuse(prepared.plan.targets)
    jobs = [Job.from_target(target) for target in prepared.plan.targets]
    refs = [job.ref for job in jobs]
    claims, url = batch or session.claims, session.endpoint.base_url
    claim = claims.create_claim(run_id, url, refs, ignore_running=request.ignore_running)
    return ClaimedTargets(run_id, jobs, claim)


async def complete_claim(
    session: Session, prepared: Prepared, claimed: ClaimedTargets, *, waited: float
) -> ClaimedTargets:
    """Read the statuses of claimed targets again if outdated; release the claim after an error.

    Raises:
        CloudError: when a status can't be read.
    """
    claim, jobs, size = claimed.claim, claimed.jobs, prepared.workspace_size
    try:
        fresh = await read_what_others_changed(session, claim, jobs, size, prepared.read_at)
        if fresh is None and waited > session.settings.guards.recheck_after:
            fresh = await read_open_statuses(session, jobs, size)
    except BaseException:
        claim.release(has_ended=True)
        raise
    return replace(claimed, fresh=fresh)


async def begin_run(session: Session, request: RunRequest, prepared: Prepared, targets: ClaimedTargets) -> OpenRun:
    """Begin the log of a confirmed run: its start and its plan are durable at the return.

    Raises:
        SettingsError: when the log can't be written; the claim is then released.
        ApprovalError: when the plan is not approved any more, or was used already; the claim is then released.
    """
    try:
        if session.settings.approval.keys:
            from orchestrator.runs.signed_start import use_approval  # noqa: PLC0415 - most settings have no keys

            request = use_approval(session, request, targets.run_id)
        log, state = await _begin_log(session, request, prepared, targets.run_id)
    except BaseException:
        targets.claim.release(has_ended=True)
        raise
    stored, plan = session.store.get_run(targets.run_id), prepared.plan
    size = prepared.workspace_size
    return OpenRun(stored, log, state, targets.jobs, plan.steps, size, targets.claim, targets.fresh, prepared.freeze)


async def _begin_log(
    session: Session, request: RunRequest, prepared: Prepared, run_id: str
) -> tuple[AuditLog, RunState]:
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
    if request.wake is not None:
        started["wakes"] = request.wake.wakes
    playbook = request.loaded.playbook
    if playbook.wake is not None and request.narrowing is None and request.constraint is None:
        defaults = {name: variable.default for name, variable in playbook.vars.items()}
        started["wakeable"] = request.loaded.variables == defaults
    if request.narrowing is not None:
        started["narrowed"] = request.narrowing.document()
    started.update(freeze_fields(request.loaded, prepared.freeze.calendars))
    if request.overrides.break_freeze is not None:
        started["break_freeze"] = request.overrides.break_freeze
    if prepared.keep is not None and prepared.keep.ignored is not None:
        started["ignore_keep"] = prepared.keep.ignored
    if request.ignore_running:
        started["ignore_running"] = True
    if session.settings.workspace_name is not None:
        started["workspace_name"] = session.settings.workspace_name
    if request.fleet_id is not None:
        started["fleet"] = request.fleet_id
    planned = {**planned_fields(prepared.plan, prepared.workspace_size), "read_at": timestamp(prepared.read_at)}
    state = RunState()
    log = await session.store.begin_log(
        run_id,
        [(Event.RUN_STARTED, started), (Event.RUN_PLANNED, planned)],
        observers=[state.apply_record, partial(session.observer.on_record, state=state)],
    )
    return log, state
