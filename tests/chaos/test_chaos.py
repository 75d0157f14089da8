"""Chaos: every fault the API could show, alone and together, at 1 to 10 per cent of all requests."""

from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.outcome import Outcome
from tests.chaos.harness import misbehave

FAULTS = (
    "error_before",
    "error_after",
    "reset_before",
    "reset_after",
    "hang_before",
    "hang_after",
    "truncated",
    "not_json",
    "throttle",
    "unavailable",
    "wrong_shape",
    "missing_uuids",
    "shifting_list",
    "duplicates",
)
TOGETHER = {fault: 0.02 for fault in FAULTS if fault != "shifting_list"}
LOST = ("error_after", "reset_after", "truncated")
HARD = dict.fromkeys(("error_after", "reset_after", "truncated", "not_json", "hang_after", "missing_uuids"), 0.06)


def test_all_faults_together_lose_no_stop_and_repeat_none(tmp_path: Path) -> None:
    misbehave(tmp_path, dict(TOGETHER), seed=1, cvms=100).hold_to_the_promises()


@pytest.mark.soak
def test_answers_that_are_lost_after_the_effect_never_lead_to_a_second_stop(tmp_path: Path) -> None:
    misbehave(tmp_path, dict(HARD), seed=3, cvms=150).hold_to_the_promises()


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["reset_after", "error_before", "hang_after", "batch_missing"])
def test_a_single_fault_at_ten_per_cent_changes_nothing_in_the_end(tmp_path: Path, fault: str) -> None:
    rate = 1.0 if fault == "batch_missing" else 0.1
    misbehave(tmp_path, {fault: rate}, seed=4, cvms=100).hold_to_the_promises()


def test_batches_of_stops_whose_answers_are_lost_lose_no_stop_and_repeat_none(tmp_path: Path) -> None:
    faults = {fault: {"probability": 0.3, "operations": ["batch_stop"]} for fault in LOST}
    told = misbehave(tmp_path, {**TOGETHER, **faults}, seed=5, cvms=100, dispatch="batch")
    told.hold_to_the_promises()
    assert any(request.operation == "batch_stop" and request.fault for request in told.simulator.requests)


@pytest.mark.soak
@pytest.mark.parametrize("action", [Action.SHUTDOWN, Action.START])
def test_the_same_holds_of_shutdowns_and_starts(tmp_path: Path, action: Action) -> None:
    misbehave(tmp_path, {**TOGETHER, **HARD}, seed=6, cvms=150, action=action).hold_to_the_promises()


def test_a_cvm_is_shut_down_once_and_stopped_once_at_the_most_if_that_takes_too_long(tmp_path: Path) -> None:
    told = misbehave(tmp_path, {**TOGETHER, **HARD}, seed=8, cvms=80, action=Action.SHUTDOWN, escalate_after=1.5)
    told.hold_to_the_promises()
    assert 0 < sum(target.escalated_at is not None for target in told.state.targets.values()) < 80


@pytest.mark.soak
def test_no_cvm_is_restarted_twice(tmp_path: Path) -> None:
    told = misbehave(tmp_path, {**TOGETHER, **HARD}, seed=7, cvms=150, action=Action.RESTART)
    told.hold_to_one_effect_at_most()
    assert told.state.counts[Outcome.SETTLED] > 75


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 220))
@pytest.mark.parametrize("action", [Action.SHUTDOWN, Action.START])
def test_shutdowns_and_starts_over_many_seeds(tmp_path: Path, action: Action, seed: int) -> None:
    misbehave(tmp_path, {**TOGETHER, **HARD}, seed=seed, action=action).hold_to_the_promises()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_escalations_over_many_seeds(tmp_path: Path, seed: int) -> None:
    faults: dict[str, object] = {**TOGETHER, **HARD}
    misbehave(tmp_path, faults, seed=seed, action=Action.SHUTDOWN, escalate_after=1.5).hold_to_the_promises()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_batches_of_stops_over_many_seeds(tmp_path: Path, seed: int) -> None:
    faults = {fault: {"probability": 0.15, "operations": ["batch_stop"]} for fault in (*LOST, "error_before")}
    misbehave(tmp_path, {**TOGETHER, **faults}, seed=seed, dispatch="batch").hold_to_the_promises()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("percent", [1, 5, 10])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "shifting_list"])
def test_each_fault_alone(tmp_path: Path, fault: str, percent: int, seed: int) -> None:
    is_of_reads = fault in {"missing_uuids", "duplicates"}  # a run has few batches of statuses and pages
    told = misbehave(tmp_path, {fault: percent / 100}, seed=seed)
    told.hold_to_the_promises(faults_are_certain=percent > 1 and not is_of_reads)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
@pytest.mark.parametrize("percent", [1, 3])
def test_all_faults_together_over_many_seeds(tmp_path: Path, percent: int, seed: int) -> None:
    faults: dict[str, object] = dict.fromkeys(TOGETHER, percent / 100)
    misbehave(tmp_path, faults, seed=seed).hold_to_the_promises()
