"""The estimated send time of each target."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.playbook.deadline import (
    ANSWER_S,
    SendRate,
    compute_send_times,
    derive_send_rate,
    forecast_deadline,
)
from orchestrator.playbook.resolved_steps import PlannedStep, RunLimits

FAST = SendRate(1000, 1000, 1000, 1000, at_once=1, in_order=False, settle=30)
SLOW = replace(FAST, requests_per_second=10 / 0.9, burst=1)


def on(*teepods: str, wave: int = 1) -> list[tuple[int, str]]:
    return [(wave, teepod) for teepod in teepods]


def test_the_burst_is_sent_at_once_and_the_rest_at_the_rate() -> None:
    assert compute_send_times(on("a", "a", "a"), SLOW) == pytest.approx([0, 0.1, 0.2])
    assert compute_send_times(on("a", "a", "a"), replace(SLOW, burst=2)) == pytest.approx([0, 0, 0.1])


def test_teepods_take_turns_unless_there_is_an_order() -> None:
    assert compute_send_times(on("a", "a", "b"), SLOW) == pytest.approx([0, 0.2, 0.1])
    assert compute_send_times(on("a", "a", "b"), replace(SLOW, in_order=True)) == pytest.approx([0, 0.1, 0.2])


def test_a_batch_takes_the_time_of_one_request() -> None:
    assert compute_send_times(on(*"abc"), replace(SLOW, at_once=2, in_order=True)) == pytest.approx([0, 0, 0.1])
    narrow = replace(SLOW, at_once=50, per_teepod=2, in_order=True)
    assert compute_send_times(on(*"aaa"), narrow)[2] >= 0.1, "a batch has no more on one teepod than that may take"


def test_requests_wait_for_answers_at_max_in_flight() -> None:
    assert compute_send_times(on(*"abc"), replace(FAST, max_in_flight=2)) == pytest.approx([0, 0, ANSWER_S])
    assert compute_send_times(on(*"aab"), replace(FAST, per_teepod=1)) == pytest.approx([0, ANSWER_S, 0])


def test_a_wave_begins_after_the_wave_before_settled() -> None:
    targets = on("a") + on("a", "a", wave=2) + on("a", wave=3)
    assert compute_send_times(targets, SLOW) == pytest.approx([0, 30, 30.1, 60.1])


def test_a_wave_waits_for_the_soak() -> None:
    targets = on("a") + on("a", "a", wave=2) + on("a", wave=3)
    assert compute_send_times(targets, replace(SLOW, soak=100)) == pytest.approx([0, 130, 130.1, 260.1])


def test_steps_run_in_sequence_and_late_targets_are_sorted_by_time() -> None:
    both = [(SLOW, on("a", "b", "a")), (SLOW, []), (SLOW, on("a", "b"))]
    found = forecast_deadline(20, both)
    assert found.asked == pytest.approx((0, 0.1, 0.2, 30.2, 30.3))
    assert (found.late, found.ok, found.settle) == ([3, 4], False, 30)
    assert found.estimate_seconds == pytest.approx(30.3)
    assert forecast_deadline(31, both).ok


def test_the_settle_time_does_not_matter_for_one_step_without_waves() -> None:
    assert forecast_deadline(1, [(SLOW, on("a", "b"))]).settle is None
    assert forecast_deadline(1, [(SLOW, on("a") + on("b", wave=2))]).settle == 30
    assert forecast_deadline(1, []).ok


@pytest.mark.parametrize(
    ("settle_timeout", "escalate_after", "known", "seconds", "basis"),
    [
        (600.0, None, {}, Action.SHUTDOWN.spec.settle_s, "assumed"),
        (600.0, None, {"shutdown": 7.0}, 7.0, "earlier runs"),
        (5.0, None, {"shutdown": 7.0}, 5.0, "settle.timeout"),
        (600.0, 120.0, {"shutdown": 7.0}, 120.0, "escalate.after"),
        (5.0, 120.0, {}, 120.0, "escalate.after"),
    ],
)
def test_an_escalated_shutdown_takes_until_its_escalation(
    settle_timeout: float, escalate_after: float | None, known: dict[str, float], seconds: float, basis: str
) -> None:
    step = PlannedStep("it", Action.SHUTDOWN, settle_timeout, escalate_after=escalate_after)
    pace = derive_send_rate(step, RunLimits(5, 5, 10, 10), known)
    assert (pace.settle, pace.basis) == (seconds, basis)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc")), max_size=30).map(sorted),
    st.integers(1, 5),
    st.booleans(),
)
def test_the_forecast_keeps_the_rate_and_the_order_of_waves(
    targets: list[tuple[int, str]],
    burst: int,
    in_order: bool,
) -> None:
    pace = replace(SLOW, burst=burst, in_order=in_order)
    found = compute_send_times(targets, pace)
    asked = sorted(found)
    for first, last in zip(asked, asked[burst:], strict=False):
        assert last - first >= 0.1 - 1e-9
    for (wave, _), moment in zip(targets, found, strict=True):
        earlier = [each for (other, _), each in zip(targets, found, strict=True) if other < wave]
        assert all(moment >= each + 30 - 1e-9 for each in earlier)
    if in_order:
        assert found == asked
