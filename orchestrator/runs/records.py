"""The first two records of a run: the actor, the request, and the exact plan with its steps; and the parsers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.record import Record
from orchestrator.audit.replay import SERVED, RunState
from orchestrator.audit.target import Phase, TargetState
from orchestrator.billing.rates import BillingNote, Rates, format_amount, triggers_billing
from orchestrator.cvm import UP
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.rate.adaptive import START
from orchestrator.outcome import Outcome
from orchestrator.playbook.deadline import Forecast
from orchestrator.playbook.guards import GuardCheck
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.resolved_steps import (
    AnyPlanned,
    FollowUp,
    Message,
    OwnLimits,
    PlannedStep,
    Question,
    RunLimits,
)
from orchestrator.playbook.undo import TakenDown
from orchestrator.playbook.value_types import AUTO, Share
from orchestrator.times import parse_timestamp


def step_fields(step: AnyPlanned) -> dict[str, object]:
    """Build the fields of a step; unset options are left out."""
    if isinstance(step, Question):
        return {"name": step.name, "action": "pause", "question": step.question, "timeout_s": step.timeout}
    if isinstance(step, Message):
        return {"name": step.name, "action": "notify", "message": step.text}
    fields: dict[str, object] = {
        "name": step.name,
        "action": step.action.value,
        "settle_timeout_s": step.settle_timeout,
        "on_failure": step.on_failure,
        "limits": _limits_fields(step.limits),
        "escalate_after_s": step.escalate_after,
        "follows": None if step.follows is None else _follows_fields(step.follows),
        "waves": None if step.waves is None else [str(size) for size in step.waves],
        "order_by": step.order_by,
        "soak_s": step.soak,
    }
    return {key: value for key, value in fields.items() if value is not None}


def steps_from(steps: Iterable[Record]) -> tuple[AnyPlanned, ...]:
    """Read the steps of a run's plan; logs of earlier versions lack some fields."""
    return tuple(map(_parse_step, steps))


def _parse_step(fields: Record) -> AnyPlanned:
    if fields["action"] == "pause":
        return Question(fields["name"], fields["question"], fields["timeout_s"])
    if fields["action"] == "notify":
        return Message(fields["name"], fields["message"])
    waves = fields.get("waves")
    return PlannedStep(
        fields["name"],
        Action(fields["action"]),
        fields["settle_timeout_s"],
        fields.get("on_failure", "continue"),
        _own_limits(fields.get("limits", {})),
        fields.get("escalate_after_s"),
        _follows_from(fields.get("follows")),
        None if waves is None else tuple(Share.parse(size) for size in waves),
        fields.get("order_by"),
        fields.get("soak_s"),
    )


def _limits_fields(limits: OwnLimits) -> dict[str, object] | None:
    fields = {
        "requests_per_second": limits.requests_per_second,
        "max_in_flight": limits.max_in_flight,
        "per_teepod": limits.per_teepod,
        "max_failures": None if limits.max_failures is None else str(limits.max_failures),
        "dispatch": limits.dispatch,
    }
    return {key: value for key, value in fields.items() if value is not None} or None


def _own_limits(fields: dict[str, Any]) -> OwnLimits:
    most = fields.get("max_failures")
    return OwnLimits(**{**fields, "max_failures": None if most is None else Share.parse(most)})


def _follows_fields(follows: FollowUp) -> dict[str, object]:
    among = None if follows.among is None else sorted(follows.among)
    return {"step": follows.step, "outcome": sorted(follows.outcomes), "among": among}


def _follows_from(fields: Record | None) -> FollowUp | None:
    if fields is None:
        return None
    among = fields["among"]
    outcomes = frozenset(Outcome(word) for word in fields["outcome"])
    return FollowUp(fields["step"], outcomes, None if among is None else frozenset(among))


def started_fields(
    loaded: LoadedPlaybook,
    *,
    actor: str,
    version: str,
    cloud_url: str,
    limits: RunLimits,
    simulated: bool = False,
    served: bool = False,
) -> dict[str, object]:
    """Make the fields of `run.started`.

    Args:
        loaded: the playbook.
        actor: the actor behind the run.
        version: the version of this program.
        cloud_url: the destination of its requests.
        limits: the limits of the run.
        simulated: whether the cloud is a simulated cloud.
        served: whether the simulated cloud continues after the run.
    """
    notice_kinds = loaded.playbook.notify.on
    return {
        "playbook": {"name": loaded.playbook.name, "path": loaded.path, "sha256": loaded.sha256},
        "vars": dict(loaded.variables),
        "actor": actor,
        "version": version,
        "cloud_url": cloud_url,
        "simulated": simulated,
        **({"simulator": SERVED} if served else {}),
        "limits": {
            "requests_per_second": AUTO if limits.adaptive else limits.requests_per_second,
            "burst": limits.burst,
            "max_in_flight": limits.max_in_flight,
            "per_teepod": limits.per_teepod,
            "max_failures": None if limits.max_failures is None else str(limits.max_failures),
            "dispatch": limits.dispatch,
        },
        **({} if notice_kinds is None else {"notify": {"on": list(notice_kinds)}}),
    }


def guard_fields(check: GuardCheck) -> dict[str, object]:
    """Build the fields of a checked guard."""
    return {
        "name": check.name,
        "limit": None if check.limit is None else format_amount(Decimal(check.limit)),
        "value": format_amount(Decimal(check.value)),
        "ok": check.ok,
    }


def planned_fields(plan: Plan, workspace_size: int) -> dict[str, object]:
    """Build the fields of `run.planned`."""
    return {
        "steps": [step_fields(step) for step in plan.steps],
        "targets": [
            {
                "step": target.step,
                "action": target.action.value,
                "cvm": target.cvm.ref.document(),
                "status": target.cvm.status,
                "in_progress": target.cvm.in_progress,
                "billing": target.note.plan_fields(),
                "wave": target.wave,
            }
            for target in plan.targets
        ],
        "skipped": [
            {"cvm": each.cvm.ref.document(), **each.why.fields(), "status": each.cvm.status} for each in plan.skipped
        ],
        "guards": [guard_fields(check) for check in plan.guards],
        "deadline": None if plan.deadline is None else _deadline_fields(plan.deadline),
        "warnings": [each.document() for each in plan.warnings],
        "workspace_size": workspace_size,
        **({"cvms_up": plan.up} if workspace_size else {}),
    }


def _deadline_fields(deadline: Forecast) -> dict[str, object]:
    return {
        "seconds": deadline.seconds,
        "estimate_seconds": round(deadline.estimate_seconds, 1),
        "settle_seconds": deadline.settle,
        "settle_basis": deadline.basis,
        "ok": deadline.ok,
        "late": len(deadline.late),
    }


def limits_from(limits: Mapping[str, Any]) -> RunLimits:
    """Read the limits of a run from its first record."""
    most, rate = limits["max_failures"], limits["requests_per_second"]
    return RunLimits(
        requests_per_second=START if rate == AUTO else rate,
        burst=limits["burst"],
        max_in_flight=limits["max_in_flight"],
        per_teepod=limits["per_teepod"],
        max_failures=None if most is None else Share.parse(most),
        adaptive=rate == AUTO,
        dispatch=limits.get("dispatch", "single"),  # logs of earlier versions lack this field
    )


def rebuild_jobs(state: RunState, *, now: float, wall: datetime) -> list[Job]:
    """Rebuild every target of a run at the progress recorded in its log.

    Args:
        state: the replayed log.
        now: the engine's clock.
        wall: the time of day at `now`, used to convert the log's timestamps.
    """

    def engine_time(timestamp: str | None) -> float | None:
        if timestamp is None:
            return None
        return now - max(0.0, (wall - parse_timestamp(timestamp)).total_seconds())

    jobs = []
    for target in state.targets.values():
        billing = target.bill
        rates = Rates(
            _parse_money(billing["compute_usd_per_hour"]),
            _parse_money(billing["storage_usd_per_hour"]),
            billing["rate_source"],
        )
        action = target.current_action
        is_accepted = target.accepted_action == action  # before an escalation, another action may have been accepted
        job = Job(
            step=target.step,
            action=action,
            ref=target.ref,
            before=target.escalated_from or target.before or "",
            note=BillingNote(rates, tuple(billing["notes"]), triggers_billing(Action(target.action), billing["notes"])),
            attempts=target.attempts,
            batch=target.batch,
            phase=_find_phase(target, is_accepted=is_accepted),
            needs_own_request=target.phase in _IN_DOUBT,  # a batch may have skipped the CVM
            first_sent=engine_time(target.first_sent_at),
            accepted_at=engine_time(target.accepted_at) if is_accepted else None,
            escalated_at=engine_time(target.escalated_at),
            billed=target.billing is not None,
            outcome=target.outcome,
            is_superseded=target.taken_up_by is not None,
            status=target.status,
            wave=target.wave,
        )
        jobs.append(job)
    return jobs


def _find_phase(target: TargetState, *, is_accepted: bool) -> RequestPhase:
    if target.outcome is None and target.phase is Phase.SENDING:
        return RequestPhase.UNANSWERED
    if target.phase in _IN_DOUBT:
        return RequestPhase.IN_DOUBT
    return RequestPhase.ACCEPTED if is_accepted and target.accepted_at is not None else RequestPhase.WAITING


def taken_down(state: RunState) -> tuple[TakenDown, ...]:
    """List the CVMs taken from running to down by a run, by whatever steps.

    A CVM counts as `late` after a stop with a certain or possible effect but without a confirmed end.
    """
    before: dict[str, str | None] = {}
    effective: dict[str, TargetState] = {}  # by CVM: the last target with a certain or possible effect
    for target in state.targets.values():
        before.setdefault(target.ref.key, target.before)
        if target.billing is not None or (target.phase in _IN_DOUBT and target.outcome is Outcome.UNSETTLED):
            effective[target.ref.key] = target
    return tuple(
        TakenDown(target.ref, target.status, late=late)
        for target in state.targets.values()
        if target.taken_up_by is None
        and before[target.ref.key] == UP
        and (late := _is_late(target, effective.get(target.ref.key))) is not None
    )


_IN_DOUBT = frozenset({Phase.SENDING, Phase.UNKNOWN})
_NOT_SEEN_DOWN = frozenset({Outcome.UNSETTLED, Outcome.FAILED, Outcome.REFUSED, Outcome.NOT_SENT})
"""Outcomes of a CVM's last target after which an earlier stop may still take effect."""


def _is_late(last: TargetState, effective: TargetState | None) -> bool | None:
    """True for a CVM possibly down only after the run, False for a CVM seen down; None for a CVM not taken down.

    Args:
        last: the last target of the CVM.
        effective: the last target of the CVM with a certain or possible effect.
    """
    if last.outcome is Outcome.SETTLED:
        return None if Action(last.action).leaves_running else False
    if effective is None or Action(effective.action).leaves_running:
        return None
    if last.outcome is Outcome.SKIPPED:
        return None if Action(last.action).leaves_running else False
    return effective.outcome is not Outcome.SETTLED if last.outcome in _NOT_SEEN_DOWN else None


def _parse_money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
