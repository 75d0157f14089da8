"""What a status read says of a CVM to be started or restarted. `recheck_after` is 2 seconds; accepted at 100."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.engine.watch.evaluate import Finding, WatchState, evaluate_settled_status, evaluate_status
from orchestrator.reply import StatusRead
from tests.engine.watch.test_evaluate import reads

UPWARDS = [Action.START, Action.RESTART]
moments = st.floats(100, 700)


def watched(action: Action, before: str | None = None, *, accepted: bool = True, moved: bool = False) -> WatchState:
    usual = "stopped" if action is Action.START else "running"
    return WatchState(before or usual, since=100, deadline=700, is_accepted=accepted, action=action, has_moved=moved)


def story(state: WatchState, *told: tuple[float, str]) -> list[Finding]:
    return [evaluate_status(state, StatusRead(status), at, 2) for at, status in told]


@given(st.sampled_from(UPWARDS), reads.filter(lambda read: not read.up), moments, st.booleans())
def test_nothing_but_running_with_nothing_in_progress_is_ever_taken_for_settled(
    action: Action, read: StatusRead, at: float, moved: object
) -> None:
    assert evaluate_status(watched(action, moved=bool(moved)), read, at, 2) is not Finding.SETTLED


@given(st.sampled_from(UPWARDS), reads, st.floats(100, 101.99), st.booleans())
def test_no_read_begun_before_the_lag_has_passed_proves_that_it_runs_or_that_a_request_had_no_effect(
    action: Action, read: StatusRead, at: float, moved: object
) -> None:
    assert evaluate_status(watched(action, moved=bool(moved)), read, at, 2) is not Finding.SETTLED
    assert evaluate_status(watched(action, accepted=False), read, at, 2) is not Finding.NO_EFFECT


@pytest.mark.parametrize("before", ["stopped", "exited"])
def test_a_started_cvm_settles_once_it_runs(before: str) -> None:
    told = [(100.5, before), (103, "starting"), (106, "running")]
    assert story(watched(Action.START, before), *told) == [Finding.PENDING, Finding.PENDING, Finding.SETTLED]


def test_a_started_cvm_that_stays_down_is_no_news_for_a_while_and_then_failed() -> None:
    told = [(105, "stopped"), (109, "exited"), (111, "stopped"), (114, "stopped")]
    assert story(watched(Action.START), *told) == [Finding.PENDING] * 3 + [Finding.NOT_UP]


def test_a_started_cvm_that_goes_down_again_has_failed_once_a_second_read_agrees() -> None:
    told = [(101, "starting"), (103, "exited"), (104, "exited"), (105, "exited")]
    assert story(watched(Action.START), *told) == [Finding.PENDING] * 3 + [Finding.NOT_UP]
    assert story(watched(Action.START), (101, "starting"), (103, "error"))[-1] is Finding.ERROR


@pytest.mark.parametrize("status", ["starting", "creating", "restarting"])
def test_a_start_of_unknown_outcome_had_its_effect_when_the_cvm_comes_up(status: str) -> None:
    assert evaluate_status(watched(Action.START, accepted=False), StatusRead(status), 100.1, 2) is Finding.EFFECT
    assert evaluate_status(watched(Action.START, accepted=False), StatusRead("running"), 102, 2) is Finding.EFFECT
    assert evaluate_status(watched(Action.START, accepted=False), StatusRead("running"), 101, 2) is Finding.PENDING


def test_a_start_of_unknown_outcome_had_none_only_if_a_late_read_shows_the_cvm_down_as_before() -> None:
    state = watched(Action.START, accepted=False)
    assert evaluate_status(state, StatusRead("stopped"), 101.9, 2) is Finding.PENDING
    assert evaluate_status(state, StatusRead("stopped"), 102, 2) is Finding.NO_EFFECT
    assert evaluate_status(state, StatusRead("stopped", True), 102, 2) is Finding.PENDING
    assert evaluate_status(state, StatusRead("stopping"), 102, 2) is Finding.PENDING
    assert evaluate_status(state, StatusRead("unknown"), 600, 2) is Finding.PENDING


@pytest.mark.parametrize("status", ["exited", "error"])
def test_a_start_of_unknown_outcome_after_which_the_guest_ended_or_failed_is_not_sent_again(status: str) -> None:
    assert evaluate_status(watched(Action.START, accepted=False), StatusRead(status), 110, 2) is Finding.EFFECT
    assert (
        evaluate_status(watched(Action.START, status, accepted=False), StatusRead(status), 110, 2) is Finding.NO_EFFECT
    )


@pytest.mark.parametrize("on_its_way", ["restarting", "stopping", "shutting_down", "stopped", "starting"])
def test_a_restarted_cvm_settles_once_it_was_seen_elsewhere_and_runs(on_its_way: str) -> None:
    told = [(100.5, "running"), (101, on_its_way), (103, "running")]
    assert story(watched(Action.RESTART), *told) == [Finding.PENDING, Finding.PENDING, Finding.SETTLED]


def test_a_restart_whose_answer_showed_it_on_its_way_needs_no_further_sight_of_that() -> None:
    assert story(watched(Action.RESTART, moved=True), (101, "running"), (102, "running")) == [
        Finding.PENDING,
        Finding.SETTLED,
    ]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_cvm_that_was_never_seen_to_restart_can_not_be_told_to_have_done_so(*, accepted: bool) -> None:
    told = [(105, "running"), (111, "running"), (112, "running"), (113, "running")]
    assert story(watched(Action.RESTART, accepted=accepted), *told) == [Finding.PENDING] * 3 + [Finding.INCONCLUSIVE]


@given(reads, moments)
def test_a_restart_of_unknown_outcome_is_never_said_to_have_had_none(read: StatusRead, at: float) -> None:
    state = watched(Action.RESTART, accepted=False)
    assert Finding.NO_EFFECT not in {evaluate_status(state, read, at, 2), evaluate_status(state, read, at + 100, 2)}


@pytest.mark.parametrize("status", ["restarting", "stopping", "stopped", "starting", "error"])
def test_a_restart_of_unknown_outcome_had_its_effect_when_the_cvm_is_seen_elsewhere(status: str) -> None:
    assert evaluate_status(watched(Action.RESTART, accepted=False), StatusRead(status), 100.1, 2) is Finding.EFFECT


@pytest.mark.parametrize("action", UPWARDS)
def test_a_cvm_that_was_seen_running_has_fallen_once_two_reads_agree(action: Action) -> None:
    state = watched(action)
    told = [(200, "stopped"), (201, "stopped"), (202, "stopped")]
    findings = [evaluate_settled_status(state, StatusRead(status), at, 2) for at, status in told]
    assert findings == [Finding.PENDING, Finding.PENDING, Finding.WENT_DOWN]
    assert evaluate_settled_status(watched(action), StatusRead("running"), 200, 2) is Finding.SETTLED
    assert evaluate_settled_status(watched(action), StatusRead("restarting"), 200, 2) is Finding.PENDING


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (StatusRead("error"), Finding.ERROR),
        (StatusRead("error", True), Finding.PENDING),
        (StatusRead("x"), Finding.PENDING),
        (StatusRead("running", True), Finding.PENDING),
    ],
)
def test_an_accepted_restart_fails_only_at_an_error_with_nothing_in_progress(
    read: StatusRead, finding: Finding
) -> None:
    state = watched(Action.RESTART)
    assert evaluate_status(state, read, 101, 2) is finding


@pytest.mark.parametrize(("action", "moved"), [(Action.START, False), (Action.RESTART, True)])
def test_running_counts_from_the_moment_at_which_the_lag_has_passed(action: Action, moved: object) -> None:
    assert evaluate_status(watched(action, moved=bool(moved)), StatusRead("running"), 102, 2) is Finding.SETTLED


def test_a_started_cvm_with_an_unknown_status_is_no_news() -> None:
    assert story(watched(Action.START), (200, "x"), (203, "x")) == [Finding.PENDING, Finding.PENDING]


@pytest.mark.parametrize(("before", "finding"), [("stopped", Finding.ERROR), ("error", Finding.PENDING)])
def test_an_error_after_a_start_is_news_at_once_only_with_another_status_before(before: str, finding: Finding) -> None:
    assert evaluate_status(watched(Action.START, before), StatusRead("error"), 101, 2) is finding


@pytest.mark.parametrize(
    ("action", "status", "accepted"),
    [
        (Action.STOP, "running", True),
        (Action.START, "stopped", True),
        (Action.RESTART, "running", True),
        (Action.RESTART, "running", False),
    ],
)
def test_an_unchanged_status_counts_from_the_end_of_the_patience(action: Action, status: str, accepted: object) -> None:
    state = watched(action, accepted=bool(accepted))
    evaluate_status(state, StatusRead(status), 109.9, 2)
    assert state.doubted_at is None
    evaluate_status(state, StatusRead(status), 110, 2)
    assert state.doubted_at == 110


@pytest.mark.parametrize(
    ("read", "finding"),
    [
        (StatusRead("error"), Finding.WENT_DOWN),
        (StatusRead("stopping"), Finding.WENT_DOWN),
        (StatusRead("stopped", True), Finding.PENDING),
        (StatusRead("restarting"), Finding.PENDING),
        (StatusRead("running", True), Finding.PENDING),
        (StatusRead("x"), Finding.PENDING),
    ],
)
def test_a_settled_start_fails_only_after_two_reads_of_a_cvm_down_or_going_down(
    read: StatusRead, finding: Finding
) -> None:
    state = watched(Action.START)
    assert [evaluate_settled_status(state, read, at, 2) for at in (200, 202)] == [Finding.PENDING, finding]
