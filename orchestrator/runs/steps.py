"""The steps of a plan as fields for `run.planned` and plan files, and the parser."""

from collections.abc import Iterable
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.record import Record
from orchestrator.outcome import Outcome
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, Message, OwnLimits, PlannedStep, Question
from orchestrator.playbook.value_types import Share


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
        "follows": _follows_fields(step.follows),
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


def _follows_fields(follows: FollowUp | None) -> dict[str, object] | None:
    if follows is None:
        return None
    among = None if follows.among is None else sorted(follows.among)
    return {"step": follows.step, "outcome": sorted(follows.outcomes), "among": among}


def _follows_from(fields: Record | None) -> FollowUp | None:
    if fields is None:
        return None
    among = fields["among"]
    outcomes = frozenset(Outcome(word) for word in fields["outcome"])
    return FollowUp(fields["step"], outcomes, None if among is None else frozenset(among))
