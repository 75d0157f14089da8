"""The parts of a resume: the check of the log, the frozen limits, and the record of the resume."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from orchestrator.audit.claims import Claim
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun, require_sound
from orchestrator.audit.verify import Reading
from orchestrator.billing.rates import Total
from orchestrator.engine.job import Job
from orchestrator.errors import NotConfirmedError, UsageError
from orchestrator.outcome import Reason
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.runs.claims import wait_for_statuses
from orchestrator.runs.freeze import RunFreeze, load_recorded_freeze
from orchestrator.runs.frozen import Applied, Frozen, apply_settings
from orchestrator.runs.recheck import Rechecked, is_settled_by, recheck_run, to_send, to_skip
from orchestrator.runs.records import limits_from, rebuild_jobs, steps_from
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.start import OpenRun
from orchestrator.settings.load import Settings
from orchestrator.text import safe_text
from orchestrator.times import parse_timestamp


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """The plan of a resume.

    Attributes:
        jobs: every target.
        checked: the current facts about the CVMs.
        send: the targets still to send a request for.
        watch: the targets with a sent request but without a confirmed end.
        skip: the open targets to be left alone, with the reasons.
        ended: the number of targets with an outcome.
        steps: the steps of the run.
        limits: the effective limits.
        stricter: a phrase for every setting stricter than at the start of the run.
        warnings: the warnings for a person.
        freeze: the freezes of the run and of the settings.
        age: the age of the run's plan, in seconds.
        may_be_old: the highest age without a question, in seconds.
    """

    jobs: list[Job]
    checked: Rechecked
    send: tuple[Job, ...]
    watch: tuple[Job, ...]
    skip: tuple[tuple[Job, Reason], ...]
    ended: int
    steps: tuple[AnyPlanned, ...]
    limits: RunLimits
    stricter: tuple[str, ...]
    warnings: tuple[PlanWarning, ...]
    freeze: RunFreeze = field(default_factory=RunFreeze)
    age: float = 0.0
    may_be_old: float = 0.0

    @property
    def unsent(self) -> list[Job]:
        """List the targets without a request known to have had an effect."""
        return [*self.send, *(job for job in self.watch if not job.is_accepted)]

    @property
    def doubtful(self) -> int:
        """Count the CVMs of an old plan perhaps changed on purpose since: not as wanted, and without a known effect."""
        if self.age <= self.may_be_old:
            return 0
        return sum(not is_settled_by(job, self.checked.fresh.get(job.ref.key)) for job in self.unsent)

    @property
    def is_doubtful(self) -> bool:
        """Check for a reason to ask a person before the resume."""
        return self.checked.other_key is not None or self.doubtful > 0

    def document(self, state: RunState) -> dict[str, Any]:
        """Build the document of `resume --dry-run --json`."""
        return {
            "run_id": state.run_id,
            "exit_code": 0,
            "dry_run": True,
            "send": [_job_fields(job) for job in self.send],
            "watch": [_job_fields(job) for job in self.watch],
            "skip": [{**_job_fields(job), **reason.fields()} for job, reason in self.skip],
            "ended": self.ended,
            "billing": self.ends.document() | ({"starts": self.begins.document()} if self.starts else {}),
            "warnings": [warning.document() for warning in self.warnings],
            **({} if state.started.workspace_name is None else {"workspace_name": state.started.workspace_name}),
        }

    @property
    def starts(self) -> bool:
        """Check for CVMs to start."""
        return any(job.action.starts_cvms for job in self.send)

    @property
    def ends(self) -> Total:
        """Sum the charges to be ended by the remaining requests."""
        return Total.sum_rates(job.note.rates for job in self.send if not job.action.leaves_running)

    @property
    def begins(self) -> Total:
        """Sum the charges to be started by the remaining requests."""
        return Total.sum_rates(job.note.rates for job in self.send if job.action.starts_cvms)


def frozen_in(state: RunState, run: StoredRun) -> Frozen:
    """Return the frozen settings in the log of a run."""
    guards = {check["name"]: Decimal(check["limit"]) for check in state.planned.guards if check["limit"]}
    notice_kinds = state.started.notice_kinds
    steps = steps_from(state.planned.steps)
    return Frozen(
        "the run's log",
        limits_from(state.started.limits),
        steps,
        guards,
        notice_kinds,
        has_prices=True,
        file=run.location,
    )


def require_resumable(reading: Reading, state: RunState, run: StoredRun) -> None:
    """Refuse to resume a run from an unusable log.

    Raises:
        SettingsError: when the log was altered.
        NotConfirmedError: when the log has no plan, so that no request was sent.
    """
    require_sound(reading, run, "an altered log can't be continued; start a new run")
    if not state.has_plan:
        raise NotConfirmedError(
            "the run ended before the record of its plan, so nothing was sent",
            file=run.location,
            hint="start a new run",
        )


def report_warnings(plan: ResumePlan, observer: RunObserver, run_id: str) -> None:
    """Report the warnings of a resume to the observer of the run."""
    for warning in plan.warnings:
        observer.on_warning("resume.warning", run_id=run_id, message=warning.message)


def plan_resume(jobs: list[Job], checked: Rechecked, applied: Applied) -> ResumePlan:
    """Plan a resume."""
    return ResumePlan(
        jobs=jobs,
        checked=checked,
        send=tuple(to_send(jobs, checked.fresh)),
        watch=tuple(job for job in jobs if job.is_under_way),
        skip=tuple(to_skip(jobs, checked.fresh)),
        ended=sum(job.outcome is not None and not job.is_superseded for job in jobs),
        steps=applied.steps,
        limits=applied.limits,
        stricter=applied.stricter,
        warnings=(*applied.warnings, *(() if checked.other_key is None else (checked.other_key,))),
    )


@dataclass(frozen=True, slots=True)
class ReopenedRun:
    """An unfinished run with its log reopened.

    Attributes:
        stored: the run in its store.
        log: the audit log, held by this process.
        reading: the result of reading the log.
        state: the replayed state of the log.
    """

    stored: StoredRun
    log: AuditLog
    reading: Reading
    state: RunState

    def apply_settings(self, settings: Settings, assignments: Iterable[str] = ()) -> Applied:
        """Apply the settings stricter than the recorded values; arguments and errors as in `frozen.apply_settings`."""
        return apply_settings(frozen_in(self.state, self.stored), settings, assignments)

    async def plan(
        self, session: Session, applied: Applied, claim: Claim | None, *, break_freeze: str | None = None
    ) -> ResumePlan:
        """Read the current state of the run's CVMs, and plan the resume.

        Args:
            session: the connection to the cloud.
            applied: the effective limits.
            claim: the claim on the run's CVMs; None for a plan without a resume.
            break_freeze: the reason to act during a freeze.

        Raises:
            CloudError: when a status or the inventory can't be read.
            UsageError: when the key belongs to another workspace.
            GuardError: when a guard stricter than the plan's guard, or a freeze, refuses the rest of the run.
            ApprovalError: when the settings want an approved plan, and the log has no approval.
            PlaybookError: when a calendar of a freeze in the playbook is unusable.
            SettingsError: when a calendar of a freeze in the settings is unusable.
        """
        if session.settings.approval.keys:
            from orchestrator.runs.signed_start import require_recorded  # noqa: PLC0415 - most settings have no keys

            require_recorded(session, self.state)
        freeze = await load_recorded_freeze(session.settings, self.state.started.freeze, break_freeze)
        if claim is not None:
            await wait_for_statuses(session, claim)
        jobs = rebuild_jobs(self.state, now=session.clock.now(), wall=session.clock.wall())
        plan = plan_resume(jobs, await recheck_run(session, self.state, jobs), applied)
        freeze.refuse((job.action for job in plan.unsent), session.clock.wall())
        age = (session.clock.wall() - parse_timestamp(self.state.planned.ts)).total_seconds()
        return replace(plan, freeze=freeze, age=age, may_be_old=session.settings.audit.resume_without_asking)

    async def record_resume(
        self, session: Session, plan: ResumePlan, claim: Claim, *, ignore_running: bool = False
    ) -> OpenRun:
        """Record the resume; the state follows the log from here on.

        Args:
            session: the connection to the cloud.
            plan: the plan of the resume.
            claim: the claim on the run's CVMs.
            ignore_running: whether the run acts on CVMs claimed by another run.
        """
        fields: dict[str, object] = {"stricter": list(plan.stricter)} if plan.stricter else {}
        if ignore_running:
            fields["ignore_running"] = True
        if plan.freeze.broken is not None:
            fields["break_freeze"] = plan.freeze.broken
        await record_resume(self.log, self.reading, self.state, plan.jobs, session.observer, **fields)
        size = self.state.planned.workspace_size
        fresh = plan.checked.fresh
        return OpenRun(self.stored, self.log, self.state, plan.jobs, plan.steps, size, claim, fresh, plan.freeze)


@contextmanager
def reopen_run(run: StoredRun, *, in_fleet: bool = False) -> Iterator[ReopenedRun]:
    """Reopen the log of a run for the length of the block.

    Args:
        run: the run.
        in_fleet: whether the run may be part of a fleet run.

    Raises:
        UsageError: when the run is part of a fleet run, unless accepted.
        RunHeldError: when another process carries the run out.
        SettingsError: when the log can't be written, or was altered.
        NotConfirmedError: when the log has no plan, so that no request was sent.
    """
    state = RunState()
    log, reading = run.open_log(state.apply_record)
    try:
        require_resumable(reading, state, run)
        if state.started.fleet is not None and not in_fleet:
            fleet_id = safe_text(state.started.fleet)
            hint = f"resume all of its runs: orchestrator resume {fleet_id}"
            raise UsageError(f"this run is part of fleet run {fleet_id}", file=run.location, hint=hint)
        yield ReopenedRun(run, log, reading, state)
    finally:
        log.close()


async def record_resume(
    log: AuditLog, reading: Reading, state: RunState, jobs: list[Job], observer: RunObserver, **fields: object
) -> None:
    """Record a resume, and connect the state and the observer to the log.

    Args:
        log: the audit log.
        reading: the result of reading the log.
        state: the replayed state of the log.
        jobs: every target.
        observer: receives every later record.
        **fields: more fields of the record.
    """
    log.observers += [state.apply_record, partial(observer.on_record, state=state)]
    opened = sum(job.outcome is None for job in jobs)
    log.record_resumed(reading.torn, unterminated=reading.unterminated, open=opened, **fields)
    await log.flush()


def _job_fields(job: Job) -> Mapping[str, object]:
    return {"step": job.step, "action": job.action.value, "cvm": job.document}
