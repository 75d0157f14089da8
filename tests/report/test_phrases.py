"""The phrases of reports: each enum has one table, with a phrase for every member."""

from dataclasses import astuple
from typing import get_type_hints

from orchestrator.audit.events import ANSWERED, TYPES
from orchestrator.audit.target import Phase
from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import Outcome
from orchestrator.report.audit.phrases import PHRASES
from orchestrator.report.full.phrases import ANSWERS, STAGES
from orchestrator.report.phrases import CHARGES, OUTCOMES, VERDICTS


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
