"""The parts of a resume: the check of the log, the frozen limits, and the record of the resume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from orchestrator.action import Action
from orchestrator.audit.log import AuditLog, Observer
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.billing.rates import Total
from orchestrator.engine.job import Job
from orchestrator.errors import NotConfirmedError, SettingsError
from orchestrator.playbook.plan_warning import PlanWarning
from orchestrator.playbook.resolved_steps import AnyPlanned, RunLimits
from orchestrator.runs.frozen import Applied, Frozen
from orchestrator.runs.recheck import Rechecked, to_send, to_skip
from orchestrator.runs.records import limits_from
from orchestrator.runs.steps import steps_from
from orchestrator.skip_reason import Reason


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """The plan of a resume.

    Attributes:
        send: the targets still to send a request for.
        watch: the targets with a sent request but without a confirmed end.
        skip: the open targets to be left alone, with the reasons.
        ended: the number of targets with an outcome.
        steps: the steps of the run.
        limits: the effective limits.
        stricter: a phrase for every setting stricter than at the start of the run.
        warnings: the warnings for a person.
    """

    send: tuple[Job, ...]
    watch: tuple[Job, ...]
    skip: tuple[tuple[Job, Reason], ...]
    ended: int
    steps: tuple[AnyPlanned, ...]
    limits: RunLimits
    stricter: tuple[str, ...]
    warnings: tuple[PlanWarning, ...]

    def document(self, state: RunState) -> dict[str, Any]:
        """Build the document of `resume --dry-run --json`."""
        return {
            "run_id": state.run_id,
            "exit_code": 0,
            "dry_run": True,
            "send": [_fields(work) for work in self.send],
            "watch": [_fields(work) for work in self.watch],
            "skip": [{**_fields(work), **reason.fields()} for work, reason in self.skip],
            "ended": self.ended,
            "billing": self.ends.document() | ({"starts": self.begins.document()} if self.starts else {}),
            "warnings": [warning.document() for warning in self.warnings],
        }

    @property
    def starts(self) -> bool:
        """Check for CVMs to start."""
        return any(work.action is Action.START for work in self.send)

    @property
    def ends(self) -> Total:
        """Sum the charges to be ended by the remaining requests."""
        return Total.of(work.note.rates for work in self.send if not work.action.leaves_running)

    @property
    def begins(self) -> Total:
        """Sum the charges to be started by the remaining requests."""
        return Total.of(work.note.rates for work in self.send if work.action is Action.START)


def frozen_in(state: RunState, path: Path) -> Frozen:
    """Return the frozen settings in the log of a run."""
    guards = {check["name"]: Decimal(check["limit"]) for check in state.planned.get("guards", ()) if check["limit"]}
    told = state.started.get("notify", {}).get("on")
    steps = steps_from(state.planned)
    return Frozen("the run's log", limits_from(state.started), steps, guards, told, has_prices=True, file=path)


def check(reading: Reading, state: RunState, path: Path) -> None:
    """Refuse to resume a run from an unusable log.

    Raises:
        SettingsError: when the log was altered.
        NotConfirmedError: when the log has no plan, so that no request was sent.
    """
    if reading.verdict is Verdict.ALTERED:
        raise SettingsError(
            f"the audit log was altered: {reading.reason}",
            file=path,
            line=reading.line,
            hint="a log that is not what was written can't be gone on with; start a new run",
        )
    if not state.planned:
        raise NotConfirmedError(
            "the run ended before its plan was on record, so nothing was sent",
            file=path,
            hint="there is nothing to go on with; start a new run",
        )


def log_warnings(plan: ResumePlan, run_id: str) -> None:
    """Log the warnings for a person, in place of a printed plan."""
    for warning in plan.warnings:
        structlog.get_logger().warning("resume.warning", run_id=run_id, message=warning.message)


def resume_plan(jobs: list[Job], checked: Rechecked, applied: Applied) -> ResumePlan:
    """Plan a resume."""
    return ResumePlan(
        send=tuple(to_send(jobs, checked.fresh)),
        watch=tuple(work for work in jobs if work.under_way),
        skip=tuple(to_skip(jobs, checked.fresh)),
        ended=sum(work.outcome is not None and not work.taken_up for work in jobs),
        steps=applied.steps,
        limits=applied.limits,
        stricter=applied.stricter,
        warnings=(*applied.warnings, *(() if checked.other_key is None else (checked.other_key,))),
    )


async def go_on_record(
    log: AuditLog,
    reading: Reading,
    state: RunState,
    jobs: list[Job],
    heard: Observer,
    *,
    stricter: Sequence[str] = (),
    ignore_running: bool = False,
) -> None:
    """Record the resume; `state` follows the log from here on.

    Args:
        log: the audit log.
        reading: the result of reading the log.
        state: the replayed state of the log.
        jobs: every target.
        heard: receives every later record.
        stricter: a phrase for every setting stricter than the recorded value.
        ignore_running: whether the run acts on CVMs claimed by another run.
    """
    log.observers += [state.apply, heard]
    fields: dict[str, object] = {"open": sum(work.outcome is None for work in jobs)}
    if stricter:
        fields["stricter"] = list(stricter)
    if ignore_running:
        fields["ignore_running"] = True
    log.resumed(reading.torn, unterminated=reading.unterminated, **fields)
    await log.flush()


def _fields(work: Job) -> Mapping[str, object]:
    return {"step": work.step, "action": work.action.value, "cvm": work.document}
