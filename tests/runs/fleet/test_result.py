"""Decisions about a fleet run as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.value_types import Share
from orchestrator.runs.fleet.result import (
    AfterCanary,
    MemberEnd,
    choose_ending,
    combine_exit_codes,
    decide_after_canary,
    has_too_many_failures,
    name_interruption,
    sum_counts,
)

RUN_CODES = st.sampled_from(
    [Exit.OK, Exit.GUARD, Exit.CLOUD, Exit.FAILED, Exit.UNSETTLED, Exit.ENDED_EARLY, Exit.SIGINT, Exit.SIGTERM]
)


@pytest.mark.parametrize(
    ("codes", "left_out", "expected"),
    [
        ([Exit.OK, Exit.OK], False, Exit.OK),
        ([Exit.OK], True, Exit.FAILED),
        ([Exit.UNSETTLED], True, Exit.FAILED),
        ([Exit.UNSETTLED, Exit.FAILED], False, Exit.FAILED),
        ([Exit.FAILED, Exit.ENDED_EARLY], False, Exit.ENDED_EARLY),
        ([Exit.ENDED_EARLY, Exit.SIGTERM], False, Exit.SIGTERM),
        ([Exit.CLOUD, Exit.CLOUD], False, Exit.CLOUD),
        ([Exit.CLOUD, Exit.OK], False, Exit.ENDED_EARLY),
        ([Exit.GUARD, Exit.OK], False, Exit.ENDED_EARLY),
        ([], False, Exit.OK),
    ],
)
def test_the_most_important_exit_code_counts(codes: list[Exit], left_out: bool, expected: Exit) -> None:
    assert combine_exit_codes(codes, left_out=left_out) is expected


@given(codes=st.lists(RUN_CODES, min_size=1), more=RUN_CODES, left_out=st.booleans())
def test_nothing_was_changed_only_if_no_run_changed_anything(codes: list[Exit], more: Exit, left_out: bool) -> None:
    code = combine_exit_codes([*codes, more], left_out=left_out)
    unsent = {Exit.CLOUD, Exit.GUARD}
    assert (code in unsent) == ({*codes, more} <= unsent)


@given(codes=st.lists(RUN_CODES), left_out=st.booleans(), shuffled=st.randoms())
def test_the_order_of_the_workspaces_does_not_matter(codes: list[Exit], left_out: bool, shuffled: object) -> None:
    again = list(codes)
    shuffled.shuffle(again)  # type: ignore[attr-defined]
    assert combine_exit_codes(codes, left_out=left_out) is combine_exit_codes(again, left_out=left_out)


def test_the_ending_is_that_of_the_most_important_exit_code() -> None:
    ok = MemberEnd("a", "1", Ending.COMPLETED, Exit.OK, "h")
    failures = MemberEnd("b", "2", Ending.MAX_FAILURES, Exit.ENDED_EARLY, "h")
    waiting = MemberEnd("c", "3")
    assert choose_ending([ok, failures, waiting]) is Ending.MAX_FAILURES
    assert choose_ending([waiting]) is Ending.COMPLETED


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ([MemberEnd("a", "1", Ending.COMPLETED, Exit.OK, "h"), MemberEnd("b", "2")], "runs_left"),
        ([MemberEnd("a", "1", Ending.ABANDONED, Exit.ENDED_EARLY, "h"), MemberEnd("b", "2")], "runs_left"),
        ([MemberEnd("a", "1", Ending.MAX_FAILURES, Exit.ENDED_EARLY, "h"), MemberEnd("b", "2")], "runs_left"),
        (
            [
                MemberEnd("a", "1", Ending.MAX_FAILURES, Exit.ENDED_EARLY, "h"),
                MemberEnd("b", "2", Ending.KEY_REFUSED, Exit.CLOUD),
                MemberEnd("c", "3", Ending.SIGTERM, Exit.SIGTERM),
            ],
            "sigterm",
        ),
    ],
)
def test_an_unfinished_fleet_run_is_named_after_its_unfinished_runs(ends: list[MemberEnd], reason: str) -> None:
    assert name_interruption(ends) == reason


@pytest.mark.parametrize(
    ("end", "after"),
    [
        (MemberEnd("a", "1", Ending.COMPLETED, Exit.OK, "h"), AfterCanary.BEGIN),
        (MemberEnd("a", "1", Ending.COMPLETED, Exit.UNSETTLED, "h"), AfterCanary.END),
        (MemberEnd("a", "1", Ending.KEY_REFUSED, Exit.ENDED_EARLY), AfterCanary.WAIT),
        (MemberEnd("a", "1"), AfterCanary.WAIT),
    ],
)
def test_the_others_begin_only_after_a_canary_workspace_as_wanted(end: MemberEnd, after: AfterCanary) -> None:
    assert decide_after_canary(end) is after


def test_failures_of_all_workspaces_count_together() -> None:
    counts = [{Outcome.REFUSED: 1, Outcome.SETTLED: 9}, {Outcome.FAILED: 1}, {Outcome.UNSETTLED: 5}]
    assert has_too_many_failures(counts, Share.parse("1"), 16)
    assert not has_too_many_failures(counts, Share.parse("2"), 16)
    assert has_too_many_failures(counts, Share.parse("10%"), 16)
    assert not has_too_many_failures(counts, None, 16)
    assert sum_counts(counts)[Outcome.SETTLED] == 9
