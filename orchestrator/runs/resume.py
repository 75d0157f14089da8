"""What resuming a run needs: its log checked, its frozen limits, and the record that it goes on."""

from collections.abc import Mapping
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
    """What resuming a run will do.

    Attributes:
        send: the targets whose request is still to be sent.
        watch: the targets whose request was sent and whose end was not seen.
        skip: the open targets that are left alone, each with the reason.
        ended: how many targets have their outcome already.
        steps: the steps of the run.
        limits: the limits that hold.
        stricter: a phrase for each setting that is stricter than what the run began with.
        warnings: what a person should know.
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
        """What `resume --dry-run --json` prints."""
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
        """Whether a CVM is to be started."""
        return any(work.action is Action.START for work in self.send)

    @property
    def ends(self) -> Total:
        """The charges that end with what is still to be sent."""
        return Total.of(work.note.rates for work in self.send if not work.action.leaves_running)

    @property
    def begins(self) -> Total:
        """The charges that begin with what is still to be sent."""
        return Total.of(work.note.rates for work in self.send if work.action is Action.START)


def frozen_in(state: RunState, path: Path) -> Frozen:
    """What the log of a run has frozen."""
    guards = {check["name"]: Decimal(check["limit"]) for check in state.planned.get("guards", ()) if check["limit"]}
    told = state.started.get("notify", {}).get("on")
    steps = steps_from(state.planned)
    return Frozen("the run's log", limits_from(state.started), steps, guards, told, has_prices=True, file=path)


def check(reading: Reading, state: RunState, path: Path) -> None:
    """Refuse to go on with a log with which nobody can.

    Raises:
        SettingsError: when it was altered.
        NotConfirmedError: when it has no plan, so that nothing was sent.
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
    """Log what a person should know, where no plan is printed."""
    for warning in plan.warnings:
        structlog.get_logger().warning("resume.warning", run_id=run_id, message=warning.message)


def resume_plan(jobs: list[Job], checked: Rechecked, applied: Applied) -> ResumePlan:
    """What resuming a run will do."""
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


async def go_on_record(log: AuditLog, reading: Reading, state: RunState, jobs: list[Job], heard: Observer) -> None:
    """Write down that the run goes on; `state` follows the log from here on, and `heard` is told of every record."""
    log.observers += [state.apply, heard]
    log.resumed(
        reading.torn,
        unterminated=reading.unterminated,
        open=sum(work.outcome is None for work in jobs),
    )
    await log.flush()


def _fields(work: Job) -> Mapping[str, object]:
    return {"step": work.step, "action": work.action.value, "cvm": work.document}
