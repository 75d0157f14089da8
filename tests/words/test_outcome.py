"""The exit code that follows from how a run and its targets ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import OrchestratorError, PlaybookError
from orchestrator.outcome import COUNTS_AS_FAILURE, Ending, Exit, Outcome, exit_code


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({}, Exit.OK),
        ({Outcome.SETTLED: 3, Outcome.GONE: 1, Outcome.SKIPPED: 2}, Exit.OK),
        ({Outcome.SETTLED: 3, Outcome.REFUSED: 1}, Exit.FAILED),
        ({Outcome.RESURRECTED: 1}, Exit.FAILED),
        ({Outcome.FAILED: 1, Outcome.UNSETTLED: 1}, Exit.FAILED),
        ({Outcome.UNSETTLED: 1, Outcome.SETTLED: 9}, Exit.UNSETTLED),
    ],
)
def test_a_completed_run_ends_with_the_code_of_its_worst_outcome(counts: dict[Outcome, int], code: Exit) -> None:
    assert exit_code(Ending.COMPLETED, counts, anything_sent=True) is code


def test_a_run_that_left_a_cvm_alone_of_which_too_little_is_known_ends_with_6_at_best() -> None:
    def code(ending: Ending, counts: dict[Outcome, int]) -> Exit:
        return exit_code(ending, counts, anything_sent=True, left_alone=True)

    assert code(Ending.COMPLETED, {Outcome.SETTLED: 3}) is Exit.FAILED
    assert code(Ending.COMPLETED, {Outcome.UNSETTLED: 3}) is Exit.FAILED
    assert code(Ending.MAX_FAILURES, {}) is Exit.ENDED_EARLY
    assert code(Ending.SIGINT, {}) is Exit.SIGINT


@given(st.dictionaries(st.sampled_from(Outcome), st.integers(0, 5)), st.booleans())
def test_an_interruption_goes_before_everything_else(counts: dict[Outcome, int], anything_sent: bool) -> None:
    assert exit_code(Ending.SIGINT, counts, anything_sent=anything_sent) is Exit.SIGINT
    assert exit_code(Ending.SIGTERM, counts, anything_sent=anything_sent) is Exit.SIGTERM


@pytest.mark.parametrize("ending", [Ending.MAX_FAILURES, Ending.KEY_REFUSED, Ending.LOG_FAILED, Ending.CLOUD_DOWN])
def test_an_early_end_goes_before_failures(ending: Ending) -> None:
    assert exit_code(ending, {Outcome.FAILED: 1, Outcome.NOT_SENT: 4}, anything_sent=True) is Exit.ENDED_EARLY


@pytest.mark.parametrize("ending", [Ending.KEY_REFUSED, Ending.CLOUD_DOWN])
def test_a_cloud_that_refuses_before_anything_was_sent_is_5(ending: Ending) -> None:
    assert exit_code(ending, {Outcome.NOT_SENT: 4}, anything_sent=False) is Exit.CLOUD


def test_refused_failed_and_resurrected_count_towards_max_failures() -> None:
    assert {Outcome.REFUSED, Outcome.FAILED, Outcome.RESURRECTED} == COUNTS_AS_FAILURE


def test_an_error_says_where_as_far_as_that_is_known() -> None:
    assert str(PlaybookError("bad")) == "bad"
    assert str(PlaybookError("bad", file="a.yaml")) == "a.yaml: bad"
    assert str(PlaybookError("bad", file="a.yaml", line=3)) == "a.yaml:3: bad"


def test_every_error_has_an_exit_code_and_a_name_of_its_own_kind() -> None:
    kinds = [OrchestratorError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len(kinds) > 9
    assert all(kind.exit_code in set(Exit) and kind.code for kind in kinds)
