"""The last line on stdout when nothing was sent."""

import pytest

from orchestrator.audit.claims import Overlap, refuse_live
from orchestrator.cli.confirmation import last_line
from orchestrator.errors import ClaimedError, NotConfirmedError

RUN_ID = "20261123T080000Z-4f2a"
CVMS = tuple(f"web-{number}" for number in range(1, 31))


def test_a_claim_is_told_in_short_and_stderr_alone_names_runs_and_cvms(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the CVMs; its hint has the price of `--ignore-running`."""
    with pytest.raises(ClaimedError) as raised, last_line(as_json=False):
        refuse_live([Overlap(RUN_ID, CVMS, is_live=True, has_ended=False, last_at=0.0)])
    assert capsys.readouterr().out == "\nNothing was sent: another run acts on these CVMs.\n"
    assert RUN_ID in raised.value.message
    assert "two runs can act, and bill, twice" in (raised.value.hint or "")


def test_another_refusal_of_a_claim_keeps_its_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The run itself is claimed: words about other runs would be false."""
    with pytest.raises(ClaimedError), last_line(as_json=False, nothing="Nothing more"):
        raise ClaimedError("another process executes this run")
    assert capsys.readouterr().out == "\nNothing more was sent: another process executes this run.\n"


def test_with_json_a_missing_confirmation_is_told_once_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotConfirmedError), last_line(as_json=True):
        raise NotConfirmedError("not confirmed: you typed 'no', but the answer is 3")
    assert capsys.readouterr() == ("", "Nothing was sent.\n")
