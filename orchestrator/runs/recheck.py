"""The recheck before a resume: the workspace, every CVM, protection, and the guards of the current settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.action import is_as_wanted
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.cvm import ByCvm, Cvm
from orchestrator.engine.job import Job
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.engine.read.status import Observation
from orchestrator.errors import GuardError
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.guards import Denominator, GuardCheck, check_guards, needs_whole_workspace, spare_survivors
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.planning import find_binding_reason
from orchestrator.playbook.recheck import lacks_facts, recheck_cvm
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.select import find_unknown_protection
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.session import Session, WorkspaceIdentity, read_workspace

if TYPE_CHECKING:
    from orchestrator.playbook.keep import KeepList


@dataclass(frozen=True, slots=True)
class Rechecked:
    """The current facts about a run's CVMs.

    Attributes:
        fresh: the status of every open target, by the CVM's key.
        other_key: a warning about another API key with an unknown workspace.
    """

    fresh: dict[str, Observation]
    other_key: PlanWarning | None = None


async def recheck_run(session: Session, state: RunState, jobs: Sequence[Job]) -> Rechecked:
    """Read the current state of a run's CVMs, and mark the targets to be withheld from further requests.

    Args:
        session: the connection to the cloud.
        state: the replayed state of the run's log.
        jobs: the run's targets; `withheld` is set on the targets to be left alone.

    Raises:
        CloudError: when a status or the inventory can't be read.
        UsageError: when the key belongs to another workspace.
        GuardError: when a guard stricter than the plan's guard refuses the rest of the run.
    """
    guards = session.settings.guards
    cvms = await _read_inventory(session, state, jobs, guards)
    workspace = await read_workspace(session, cvms)
    other_key = workspace.compare_with(WorkspaceIdentity.from_record(state.started.record), "the run")
    fresh = await read_open_statuses(session, jobs, state.planned.workspace_size)
    mark_withheld(state, jobs, cvms, fresh, guards, keep=session.read_keep(state.started.ignore_keep))
    _check_guards(state, jobs, cvms, fresh, guards)
    return Rechecked(fresh, other_key)


def mark_withheld(
    state: RunState,
    jobs: Sequence[Job],
    cvms: Iterable[Cvm],
    fresh: dict[str, Observation],
    guards: Guards,
    *,
    keep: "KeepList | None" = None,
) -> None:
    """Set `withheld` on targets changed, protected, or required to stay up since the plan was made.

    Args:
        state: the replayed state of the run's log.
        jobs: the run's targets.
        cvms: the current inventory.
        fresh: the status of every open target, by the CVM's key.
        guards: the guards of the current settings.
        keep: the current exemptions; None without any.
    """
    cvms = tuple(cvms)
    listed = ByCvm((cvm.ref, cvm) for cvm in cvms)
    touched = {job.ref.key for job in jobs if _may_be_touched(state.targets[job.step, job.ref.key], job)}
    now: dict[str, Cvm] = {}
    for job in jobs:
        seen, cvm = fresh.get(job.ref.key), listed.find(job.ref)
        if cvm is not None and seen is not None and seen.read is not None:
            busy = seen.read.in_progress or cvm.in_progress
            cvm = replace(cvm, status=seen.read.status, in_progress=busy)
        if cvm is not None:
            now[job.ref.key] = cvm
            target = state.targets[job.step, job.ref.key]
            job.withheld = _why_withheld(target, job, cvm, guards, keep, touched=job.ref.key in touched)
        elif seen is not None and seen.read is not None:
            job.withheld = Reason(SkipReason.GONE)
    under_way = {job.ref.key for job in jobs if job.is_under_way and not job.action.starts_cvms}
    up = [now.get(cvm.ref.key, cvm) for cvm in cvms if cvm.ref.key not in under_way]
    going = [job for job in to_send(jobs, fresh) if not job.action.starts_cvms and job.ref.key in now]
    by_key = {job.ref.key: job for job in going}
    for rule in spare_survivors(guards.keep_running or (), up, [now[job.ref.key] for job in going]):
        for key, reason in rule.reasons.items():
            by_key[key].withheld = reason


def _may_be_touched(target: TargetState, job: Job) -> bool:
    """Return True if the run may have changed the CVM: a request on record as not sent changed nothing."""
    return job.attempts > target.unsent or job.is_accepted or job.outcome is not None


def to_send(jobs: Iterable[Job], fresh: dict[str, Observation]) -> list[Job]:
    """List the targets still to send a request for: not under way, not withheld, and not in the wanted state."""
    return [
        job
        for job in jobs
        if job.outcome is None
        and not job.is_under_way
        and job.withheld is None
        and not is_settled_by(job, fresh.get(job.ref.key))
    ]


def to_skip(jobs: Iterable[Job], fresh: dict[str, Observation]) -> list[tuple[Job, Reason]]:
    """List the open targets without a further request, with the reasons."""
    found = []
    for job in jobs:
        seen = fresh.get(job.ref.key)
        if job.outcome is not None or job.is_under_way:
            continue
        if is_settled_by(job, seen):
            status = None if seen is None else seen.read
            code = SkipReason.ALREADY_UP if job.action.leaves_running else SkipReason.ALREADY_DOWN
            found.append((job, Reason(SkipReason.GONE) if status is None else Reason(code, status.status)))
        elif job.withheld is not None:
            found.append((job, job.withheld))
    return found


def is_settled_by(job: Job, seen: Observation | None) -> bool:
    """Check a status for a target with nothing left to do: in the wanted state, or deleted."""
    if seen is None:
        return False
    return seen.read is None or is_as_wanted(job.action, seen.read.status, in_progress=seen.read.in_progress)


def _why_withheld(
    target: TargetState, job: Job, now: Cvm, guards: Guards, keep: "KeepList | None", *, touched: bool
) -> Reason | None:
    """Return the reason to withhold a target; None for a target unchanged except by the run itself."""
    if is_as_wanted(job.action, now.status, in_progress=now.in_progress) and job.outcome is None:
        return None
    reason = find_binding_reason(guards, job.action, now, keep)
    then = replace(now, ref=job.ref)
    if not touched:
        busy = now.in_progress if target.in_progress is None else target.in_progress
        then = replace(then, status=job.before, in_progress=busy)
    return recheck_cvm(then, now, None) or reason


def _check_guards(
    state: RunState, jobs: Sequence[Job], cvms: Sequence[Cvm], fresh: dict[str, Observation], guards: Guards
) -> None:
    """Check the remaining requests against guards made stricter since the plan."""
    limits = {check["name"]: Decimal(check["limit"]) for check in state.planned.guards if check["limit"]}

    def newly(name: str) -> bool:
        limit = getattr(guards, name)
        return limit is not None and (name not in limits or limit < limits[name])

    left = {job.ref.key: job for job in to_send(jobs, fresh)}
    starts = sum(job.action.starts_cvms for job in left.values())
    up = sum(not cvm.down for cvm in cvms)
    undo = Denominator(up + starts, "that are up now, or that the run to undo took down")
    checks: Iterable[GuardCheck] = check_guards(
        Guards.model_construct(
            max_targets=guards.max_targets if newly("max_targets") else None,
            max_percent=guards.max_percent if newly("max_percent") else None,
        ),
        targets=len(left),
        up=up,
        protected=0,
        starts=starts,
        whole_of_starts=undo if state.started.undoes_stops else Denominator(len(cvms)),
    )
    refused = [f"{check.name}: {check.message}" for check in checks if not check.ok]
    if refused:
        raise GuardError(
            f"refused by a guard of the settings, stricter than the guard of the plan: {'; '.join(refused)}",
            hint="raise the guard on purpose; nothing was sent",
        )


async def _read_inventory(session: Session, state: RunState, jobs: Sequence[Job], guards: Guards) -> tuple[Cvm, ...]:
    """Read the current CVMs, with the facts for the comparison and the protection."""
    reader = InventoryReader(session.cloud, session.gate, session.rng)
    apps = {job.ref.app_id for job in jobs}
    known = {app for app in apps if app is not None}
    if state.planned.workspace_size or len(known) < len(apps) or needs_whole_workspace(guards):
        inventory = await reader.read_all()
    else:
        inventory = await reader.read_apps(known)
    planned = ByCvm((job.ref, job.ref) for job in jobs)
    pairs = ((cvm, planned.find(cvm.ref)) for cvm in inventory.cvms)
    lacking = [
        cvm
        for cvm, then in pairs
        if then is not None and (lacks_facts(then, cvm.ref) or find_unknown_protection(guards.protect, cvm))
    ]
    return await reader.complete_facts(inventory.cvms, lacking)
