"""Steps of a plan survive `run.planned` and plan files, also those of earlier versions."""

import json

import pytest

from orchestrator.action import Action
from orchestrator.outcome import Outcome
from orchestrator.playbook.resolved_steps import AnyPlanned, FollowUp, Message, OwnLimits, PlannedStep, Question
from orchestrator.playbook.value_types import Share
from orchestrator.runs.records import step_fields, steps_from

FULL = PlannedStep(
    "drain",
    Action.SHUTDOWN,
    600.0,
    "stop",
    OwnLimits(2.5, 10, 5, Share.parse("10%"), "batch"),
    120.0,
    FollowUp("first", frozenset({Outcome.UNSETTLED, Outcome.FAILED}), frozenset({"cvm_2", "cvm_1"})),
    (Share.parse("1"), Share.parse("50%"), Share.parse("100%")),
    "teepod",
    30.0,
)
STEPS: list[AnyPlanned] = [
    FULL,
    PlannedStep("all", Action.STOP, 600.0),
    PlannedStep("rest", Action.START, 60.0, follows=FollowUp("all", frozenset({Outcome.SETTLED}))),
    PlannedStep("zero", Action.STOP, 60.0, limits=OwnLimits(max_failures=Share.parse("0"))),
    Question("ask", "go on?", 900.0),
    Message("tell", "half is down"),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_step_is_the_same_after_json(step: AnyPlanned) -> None:
    assert steps_from([json.loads(json.dumps(step_fields(step)))]) == (step,)


def test_unset_options_are_not_written() -> None:
    fields = step_fields(PlannedStep("all", Action.STOP, 600.0))
    assert fields == {"name": "all", "action": "stop", "settle_timeout_s": 600.0, "on_failure": "continue"}


def test_a_step_of_an_earlier_version_continues_after_failures_without_own_limits() -> None:
    old = {"name": "all", "action": "stop", "settle_timeout_s": 600.0}
    assert steps_from([old]) == (PlannedStep("all", Action.STOP, 600.0, "continue", OwnLimits()),)
