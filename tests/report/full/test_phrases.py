"""The phrases of a report: each enum has one table, with a phrase for every member."""

from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import Outcome
from orchestrator.report.full.phrases import CHARGE_STATES, STAGES, VERDICTS


def test_every_outcome_has_a_meaning() -> None:
    assert set(Outcome) <= set(STAGES)


def test_every_verdict_has_a_phrase() -> None:
    assert set(VERDICTS) == set(Verdict)


def test_every_state_of_a_charge_has_a_phrase_or_an_amount() -> None:
    assert set(ChargeState) - set(CHARGE_STATES) == {ChargeState.CHARGED}
