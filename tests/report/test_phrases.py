"""The phrases of reports: each enum has one table, with a phrase for every member."""

from dataclasses import astuple
from typing import Any, get_type_hints

from orchestrator.audit.events import ANSWERED, TYPES
from orchestrator.audit.fleet_log import RUNS_LEFT
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import Phase, TargetState
from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.report.audit.phrases import PHRASES
from orchestrator.report.full.phrases import ANSWERS, STAGES
from orchestrator.report.phrases import (
    CHARGES,
    ENDINGS,
    OUTCOMES,
    VERDICTS,
    describe_approval,
    describe_end,
    meaning_of,
)
from tests.report.runs import about, cvm, run

WITHOUT_A_RUN = {Exit.BUG, Exit.USAGE, Exit.NO_MATCH}


def test_every_outcome_has_all_phrases() -> None:
    assert set(OUTCOMES) == set(Outcome)
    assert all(all(astuple(phrase)) for phrase in OUTCOMES.values())


def test_every_outcome_and_every_phase_of_a_target_has_a_meaning() -> None:
    assert set(STAGES) == {*Outcome, *Phase}


def test_every_verdict_has_a_phrase() -> None:
    assert set(VERDICTS) == set(Verdict)


def test_every_state_of_a_charge_has_a_phrase() -> None:
    assert set(CHARGES) == set(ChargeState)


def test_every_answer_to_a_request_has_a_meaning() -> None:
    assert set(ANSWERS) == {"unanswered", *(event.removeprefix("action.") for event in ANSWERED)}


def test_every_event_of_a_log_has_a_sentence() -> None:
    assert set(PHRASES) == set(TYPES.values())


def test_every_sentence_reads_the_type_of_its_own_event() -> None:
    for event, describe in PHRASES.items():
        assert get_type_hints(describe)["event"] is event


def test_every_ending_has_a_phrase() -> None:
    assert set(ENDINGS) == {*Ending, RUNS_LEFT}
    assert all(ENDINGS.values())


def test_every_exit_code_of_a_run_has_a_meaning() -> None:
    assert "ended" not in {meaning_of(code) for code in set(Exit) - WITHOUT_A_RUN}


def test_the_end_of_a_run_has_the_number_of_cvms_with_the_wanted_outcome() -> None:
    stopped = ("target.settled", about(0, outcome="settled", status="stopped", seconds=4.5))
    deleted = ("target.settled", about(1, outcome="gone", seconds=4.5))
    assert describe_end(run(stopped, deleted), Exit.ENDED_EARLY) == "ended early: 2 of 3 CVMs stopped"
    assert describe_end(run(stopped), Exit.SIGINT) == "interrupted (Ctrl-C)"
    assert describe_end(run(), Exit.CLOUD).endswith("no request was sent")


def test_the_end_of_a_run_of_several_actions_counts_targets() -> None:
    ref = cvm(1, "web-1").ref
    made = [TargetState(action, action, ref, "running", outcome=Outcome.SETTLED) for action in ("stop", "restart")]
    state = RunState(targets={(target.step, ref.key): target for target in made})
    assert describe_end(state, Exit.OK) == "succeeded: 2 of 2 targets as planned"


def test_the_signers_of_a_run_are_named_also_of_a_foreign_log() -> None:
    signed = {"approvals": [{"key_name": "ann"}, {"key_name": "cem"}], "starter": {"key_name": "ben"}}
    assert describe_approval(signed) == "ann, cem; start signed by ben"
    assert describe_approval({"approvals": [{"key_name": "ann"}]}) == "ann"
    assert describe_approval({"exempt": True}) == "exempt from approvals"
    foreign: Any = [7]
    assert [describe_approval(each) for each in ({}, {"approvals": 7}, foreign)] == ["{}", "{'approvals': 7}", "[7]"]
