"""What a status read says. `recheck_after` is 2 seconds throughout; the stop was accepted at 100."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_settled_status, evaluate_status
from orchestrator.reply import StatusRead

STATUSES = [
    "running",
    "stopped",
    "stopping",
    "shutting_down",
    "starting",
    "creating",
    "exited",
    "error",
    "unknown",
    "x",
]
reads = st.builds(StatusRead, st.sampled_from(STATUSES), st.booleans())


def watched(before: str = "running", *, accepted: bool = True) -> WatchState:
    return WatchState(before, since=100, deadline=700, is_accepted=accepted)


def story(state: WatchState, *told: tuple[float, str]) -> list[Finding]:
    return [evaluate_status(state, StatusRead(status), at, 2) for at, status in told]


@pytest.mark.parametrize("status", ["stopped", "exited"])
def test_down_with_nothing_in_progress_is_settled(status: str) -> None:
    assert evaluate_status(watched(), StatusRead(status), 101, 2) is Finding.SETTLED
    assert evaluate_status(watched(), StatusRead(status, True), 101, 2) is Finding.PENDING


@given(reads.filter(lambda read: not read.down), st.floats(100, 700))
def test_nothing_but_down_is_ever_taken_for_settled(read: StatusRead, at: float) -> None:
    assert evaluate_status(watched(), read, at, 2) is not Finding.SETTLED


def test_reads_that_lag_and_still_say_running_are_no_news() -> None:
    told = [(100.5, "running"), (102.5, "running"), (105.0, "running"), (106.0, "stopping"), (107.0, "stopped")]
    assert story(watched(), *told) == [Finding.PENDING] * 4 + [Finding.SETTLED]


def test_running_after_it_was_seen_going_down_is_back_up_once_a_second_read_agrees() -> None:
    told = [(101, "stopping"), (103, "running"), (104, "running"), (105, "running")]
    assert story(watched(), *told) == [Finding.PENDING, Finding.PENDING, Finding.PENDING, Finding.BACK_UP]


def test_one_stray_read_that_says_running_is_forgotten() -> None:
    told = [(101, "stopping"), (103, "running"), (104, "stopping"), (106, "running"), (107, "stopped")]
    assert Finding.BACK_UP not in story(watched(), *told)


def test_a_cvm_that_never_shows_any_effect_is_back_up_only_after_patience() -> None:
    told = [(105, "running"), (109, "running"), (111, "running"), (114, "running")]
    assert story(watched(), *told) == [Finding.PENDING, Finding.PENDING, Finding.PENDING, Finding.BACK_UP]


def test_error_is_news_at_once_unless_it_was_in_error_before() -> None:
    assert story(watched(), (101, "error")) == [Finding.ERROR]
    assert story(watched("error"), (101, "error"), (105, "error"), (111, "error")) == [
        Finding.PENDING,
        Finding.PENDING,
        Finding.ERROR,
    ]


def test_an_unknown_outcome_had_its_effect_when_the_cvm_goes_down() -> None:
    for status in ("stopping", "stopped", "exited", "shutting_down"):
        assert evaluate_status(watched(accepted=False), StatusRead(status), 100.1, 2) is Finding.EFFECT


@given(reads, st.floats(100, 101.99))
def test_no_read_begun_before_the_lag_has_passed_proves_that_a_stop_had_no_effect(read: StatusRead, at: float) -> None:
    assert evaluate_status(watched(accepted=False), read, at, 2) is not Finding.NO_EFFECT


def test_a_late_read_that_says_running_proves_it_but_an_unknown_word_or_an_operation_does_not() -> None:
    assert evaluate_status(watched(accepted=False), StatusRead("running"), 102, 2) is Finding.NO_EFFECT
    assert evaluate_status(watched(accepted=False), StatusRead("running", True), 102, 2) is Finding.PENDING
    assert evaluate_status(watched(accepted=False), StatusRead("hibernating"), 600, 2) is Finding.PENDING
    assert evaluate_status(watched(accepted=False), StatusRead("unknown"), 600, 2) is Finding.PENDING


def test_a_cvm_seen_down_has_risen_once_two_reads_agree() -> None:
    state = watched()
    findings = [
        evaluate_settled_status(state, StatusRead(s), at, 2)
        for at, s in [(200, "running"), (201, "running"), (202, "running")]
    ]
    assert findings == [Finding.PENDING, Finding.PENDING, Finding.CAME_UP]
    assert evaluate_settled_status(watched(), StatusRead("stopped"), 200, 2) is Finding.SETTLED


def test_an_unknown_outcome_after_which_the_cvm_is_in_another_state_is_not_sent_again() -> None:
    for status in ("error", "starting", "restarting"):
        assert evaluate_status(watched(accepted=False), StatusRead(status), 110, 2) is Finding.EFFECT
        assert evaluate_status(watched(status, accepted=False), StatusRead(status), 110, 2) is Finding.NO_EFFECT


def test_a_cvm_that_is_on_its_way_up_again_at_the_end_has_risen_too() -> None:
    state = watched()
    findings = [evaluate_settled_status(state, StatusRead("starting", True), at, 2) for at in (200, 202)]
    assert findings == [Finding.PENDING, Finding.CAME_UP]


@pytest.mark.parametrize("read", [StatusRead("error", True), StatusRead("x"), StatusRead("unknown")])
def test_no_status_under_way_or_unknown_shows_a_settled_cvm_up_again(read: StatusRead) -> None:
    state = watched()
    assert [evaluate_settled_status(state, read, at, 2) for at in (200, 300)] == [Finding.PENDING] * 2


@pytest.mark.parametrize(
    ("status", "early", "late"),
    [
        ("shutting_down", Finding.PENDING, Finding.NO_EFFECT),
        ("stopping", Finding.EFFECT, Finding.EFFECT),
        ("stopped", Finding.EFFECT, Finding.EFFECT),
        ("x", Finding.PENDING, Finding.PENDING),
    ],
)
def test_a_stop_of_unknown_effect_after_a_shutdown_needs_another_status(
    status: str, early: Finding, late: Finding
) -> None:
    state = watched("shutting_down", accepted=False)
    state.follows_shutdown = True
    assert story(state, (101, status), (102, status)) == [early, late]


@pytest.mark.parametrize(("status", "late"), [("running", Finding.NO_EFFECT), ("x", Finding.PENDING)])
def test_a_batch_had_no_effect_on_a_cvm_up_after_the_lag(status: str, late: Finding) -> None:
    state = watched(accepted=False)
    state.is_shared = True
    assert story(state, (101, status), (102, status)) == [Finding.PENDING, late]


@pytest.mark.parametrize("read", [StatusRead("running", True), StatusRead("error", True), StatusRead("x")])
def test_a_stop_does_not_fail_by_a_status_under_way_or_unknown(read: StatusRead) -> None:
    state = watched()
    assert [evaluate_status(state, read, at, 2) for at in (200, 300)] == [Finding.PENDING] * 2
