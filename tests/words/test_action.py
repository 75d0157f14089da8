"""On which CVMs an action has anything to do, and when one is as the action would leave it."""

import pytest

from orchestrator.action import Action, is_as_wanted, nothing_to_do
from orchestrator.outcome import Reason, SkipReason

STATUSES = [
    "running",
    "stopped",
    "exited",
    "stopping",
    "shutting_down",
    "starting",
    "restarting",
    "error",
    "hibernating",
]


@pytest.mark.parametrize("action", [Action.STOP, Action.SHUTDOWN])
def test_to_be_down_every_cvm_has_something_done_to_it_that_is_not_down_whatever_its_status(action: Action) -> None:
    skipped = {status: nothing_to_do(action, status, in_progress=False) for status in STATUSES}
    assert {status: reason.text for status, reason in skipped.items() if reason} == {
        "stopped": "already stopped",
        "exited": "already exited",
    }
    assert nothing_to_do(action, "stopped", in_progress=True) is None


def test_a_start_is_for_cvms_that_are_down_and_for_no_others() -> None:
    skipped = {status: nothing_to_do(Action.START, status, in_progress=False) for status in STATUSES}
    assert [status for status, reason in skipped.items() if reason is None] == ["stopped", "exited"]
    assert skipped["running"] == Reason(SkipReason.ALREADY_UP, "running")
    assert skipped["error"] == Reason(SkipReason.NOT_DOWN, "error")


def test_a_restart_is_for_cvms_that_run_and_for_no_others() -> None:
    skipped = {status: nothing_to_do(Action.RESTART, status, in_progress=False) for status in STATUSES}
    assert [status for status, reason in skipped.items() if reason is None] == ["running"]
    assert skipped["stopped"] == Reason(SkipReason.NOT_UP, "stopped")


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (Action.STOP, {"stopped", "exited"}),
        (Action.SHUTDOWN, {"stopped", "exited"}),
        (Action.START, {"running"}),
        (Action.RESTART, set()),
    ],
)
def test_only_a_known_status_with_nothing_in_progress_is_as_wanted_and_none_shows_a_restart(
    action: Action, wanted: set[str]
) -> None:
    assert {status for status in STATUSES if is_as_wanted(action, status, in_progress=False)} == wanted
    assert not any(is_as_wanted(action, status, in_progress=True) for status in STATUSES)


def test_only_a_stop_is_sent_in_a_batch_because_the_batch_pulls_the_power() -> None:
    assert [action for action in Action if action.spec.is_batchable] == [Action.STOP]
