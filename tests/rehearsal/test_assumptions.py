"""Assumptions: given, learnt or usual settle times, and the learnt limit of the API."""

import pytest

from orchestrator.errors import UsageError
from orchestrator.rehearsal.assumptions import assume, parse_settle
from orchestrator.runs.api_profile import ApiProfile


@pytest.mark.parametrize(("text", "wanted"), [("3s..20s", (3, 20)), ("5s", (5, 5)), ("1..2m", (1, 120))])
def test_a_range_of_settle_times_is_read(text: str, wanted: tuple[float, float]) -> None:
    assert parse_settle(text) == wanted


@pytest.mark.parametrize("text", ["", "20s..3s", "3s..", "a..b", "-1..3"])
def test_an_invalid_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_settle(text)
    assert error.value.hint == "write a range, such as 3s..20s"


def test_learnt_times_are_the_longest_times_because_the_run_polls_too() -> None:
    found = assume(ApiProfile(settle={"stop": 9.0}), None, 0.2)
    assert found.timing.stop_seconds == (3.0, 9.0)
    assert found.timing.latency == (0.2, 0.2)
    assert "learnt by runs" in found.basis["settle"]


def test_only_a_refused_rate_is_a_limit_of_the_api() -> None:
    known = ApiProfile(requests_per_second=8, is_limit=True)
    assert assume(known, None, 0.0).limit.requests_per_second == 8
    assert assume(ApiProfile(requests_per_second=8), None, 0.0).limit.requests_per_second is None


def test_the_option_wins_over_learnt_times() -> None:
    found = assume(ApiProfile(settle={"stop": 9.0}), "1s..2s", 0.0)
    assert found.timing.stop_seconds == found.timing.shutdown_seconds == found.timing.start_seconds == (1, 2)
