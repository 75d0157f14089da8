"""Which CVMs a run took from running to down, by its log."""

import pytest

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import Phase, TargetState
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Outcome
from orchestrator.playbook.undo import TakenDown
from orchestrator.runs.records import taken_down

REF = CvmRef("cvm_1", None, "web-1")
CASES = [
    ("stop", "running", Outcome.SETTLED, True),
    ("shutdown", "running", Outcome.SETTLED, True),
    ("restart", "running", Outcome.SETTLED, False),
    ("start", "stopped", Outcome.SETTLED, False),
    ("stop", "error", Outcome.SETTLED, False),
    ("stop", "starting", Outcome.SETTLED, False),
    ("stop", None, Outcome.SETTLED, False),
    ("stop", "running", None, False),
    *(("stop", "running", outcome, False) for outcome in Outcome if outcome is not Outcome.SETTLED),
]


@pytest.mark.parametrize(("action", "before", "outcome", "taken"), CASES)
def test_only_what_ran_was_to_be_down_and_settled_there_was_taken_down(
    action: str, before: str | None, outcome: Outcome | None, taken: bool
) -> None:
    target = TargetState("it", action, REF, before=before, outcome=outcome, status="stopped")
    state = RunState(targets={("it", "cvm_1"): target})
    assert taken_down(state) == ((TakenDown(REF, "stopped"),) if taken else ())


def test_of_a_cvm_that_several_steps_acted_on_its_first_status_and_its_last_word_count() -> None:
    hung = TargetState("ask", "shutdown", REF, "running", outcome=Outcome.UNSETTLED, taken_up_by="pull")
    pulled = TargetState("pull", "stop", REF, "shutting_down", outcome=Outcome.SETTLED, status="stopped")
    assert taken_down(RunState(targets={("ask", "cvm_1"): hung, ("pull", "cvm_1"): pulled})) == (
        TakenDown(REF, "stopped"),
    )
    stopped = TargetState("night", "stop", REF, "running", outcome=Outcome.SETTLED, taken_up_by="day")
    started = TargetState("day", "start", REF, "stopped", outcome=Outcome.SETTLED, status="running")
    assert taken_down(RunState(targets={("night", "cvm_1"): stopped, ("day", "cvm_1"): started})) == ()


@pytest.mark.parametrize(
    ("accepted", "last", "taken"),
    [
        (["shutdown"], "stop", True),
        ([], "stop", False),
        (["stop", "start"], "stop", False),
        (["stop"], "start", False),
    ],
)
def test_one_that_went_down_late_by_what_an_earlier_step_did_was_taken_down(
    accepted: list[str], last: str, taken: bool
) -> None:
    state = RunState()
    for number, action in enumerate(accepted or ["shutdown"]):
        target = TargetState(f"step {number}", action, REF, "running", outcome=Outcome.UNSETTLED)
        target.taken_up_by, target.billing = "next", {} if accepted else None
        state.targets[target.step, "cvm_1"] = target
    state.targets["last", "cvm_1"] = TargetState(
        "last", last, REF, "running", outcome=Outcome.SKIPPED, status="stopped"
    )
    assert taken_down(state) == ((TakenDown(REF, "stopped"),) if taken else ())


@pytest.mark.parametrize(
    ("accepted", "phase", "outcome", "late"),
    [
        (True, Phase.SETTLING, Outcome.UNSETTLED, True),
        (True, Phase.SETTLING, Outcome.FAILED, True),
        (True, Phase.WAITING, Outcome.REFUSED, True),
        (True, Phase.WAITING, Outcome.NOT_SENT, True),
        (False, Phase.UNKNOWN, Outcome.UNSETTLED, True),
        (False, Phase.SENDING, Outcome.UNSETTLED, True),
        (False, Phase.UNKNOWN, Outcome.FAILED, None),
        (False, Phase.WAITING, Outcome.NOT_SENT, None),
        (True, Phase.SETTLING, Outcome.SETTLED, False),
        (True, Phase.SETTLING, Outcome.RESURRECTED, None),
        (True, Phase.SETTLING, Outcome.GONE, None),
    ],
)
@pytest.mark.parametrize("action", ["stop", "shutdown"])
def test_a_stop_that_had_or_may_have_had_an_effect_without_being_seen_counts_as_late(
    action: str, *, accepted: bool, phase: Phase, outcome: Outcome, late: bool | None
) -> None:
    target = TargetState("it", action, REF, "running", outcome=outcome, status="stopping", phase=phase)
    target.billing = {} if accepted else None
    found = taken_down(RunState(targets={("it", "cvm_1"): target}))
    assert found == (() if late is None else (TakenDown(REF, "stopping", late=late),))


@pytest.mark.parametrize(("ended", "late"), [(Outcome.UNSETTLED, True), (Outcome.SETTLED, False)])
@pytest.mark.parametrize("last", ["stop", "start"])
def test_an_effective_stop_counts_although_the_request_of_a_later_step_failed(
    last: str, ended: Outcome, *, late: bool
) -> None:
    first = TargetState("ask", "shutdown", REF, "running", outcome=ended, taken_up_by="then", billing={})
    then = TargetState("then", last, REF, "shutting_down", outcome=Outcome.REFUSED, status="shutting_down")
    state = RunState(targets={("ask", "cvm_1"): first, ("then", "cvm_1"): then})
    assert taken_down(state) == (TakenDown(REF, "shutting_down", late=late),)
