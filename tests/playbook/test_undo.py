"""Undo: the CVMs taken down by a run that may be started."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.action import Action
from orchestrator.cvm import DOWN, Cvm
from orchestrator.outcome import SkipReason
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.undo import TakenDown, Undo
from tests.playbook.fleet import INVENTORIES, cvm
from tests.playbook.plans import messages_of, plan_of
from tests.playbook.test_frozen_plan import moved

FLEET = [cvm(1, "dev-1", "stopped"), cvm(2, "dev-2", "stopped", pod=2), cvm(3, "dev-3", "stopped", app="b2")]
ONE = FLEET[0]


def undo_of(fleet: Iterable[Cvm]) -> Undo:
    return Undo("a run", tuple(TakenDown(each.ref, each.status) for each in fleet))


def held(undo: Undo, fleet: list[Cvm], **more: Any) -> Plan:  # noqa: ANN401 - any argument of make_plan
    plan = plan_of(undo.playbook, fleet, target_filter=undo.filter_target, **more)
    return undo.apply_to_plan(plan, now=datetime(2026, 11, 23, tzinfo=UTC), version="1")


def test_only_unchanged_cvms_of_the_run_are_started() -> None:
    others = [cvm(8, "dev-1", "stopped"), cvm(9, "other", "running")]
    plan = held(undo_of(FLEET), [*FLEET, *others])
    assert [(target.step, target.action, target.cvm) for target in plan.targets] == [
        ("restore", Action.START, each) for each in FLEET
    ]
    assert [(each.cvm, each.why.code, each.selected) for each in plan.skipped] == [
        (each, SkipReason.NOT_IN_RUN, False) for each in others
    ]
    assert messages_of(plan) == []


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (moved(ONE, name="prod-1"), "name was dev-1, is prod-1"),
        (moved(ONE, app_id="c3"), "app was a1, is c3"),
        (moved(ONE, teepod_id=2, teepod="prod-2"), "teepod was prod-1 (#1), is prod-2 (#2)"),
        (moved(ONE, vm_uuid="f" * 32), f"its UUID was {1:032x}, is {'f' * 32}"),
        (replace(ONE, status="exited"), "status was stopped, is exited"),
        (replace(ONE, status="error"), "status was stopped, is error"),
        (replace(ONE, status="hibernated"), "status was stopped, is hibernated"),
        (replace(ONE, in_progress=True), "an operation is in progress"),
        (
            replace(ONE, status="starting", in_progress=True),
            "status was stopped, is starting, an operation is in progress",
        ),
        (
            replace(ONE, status="running", in_progress=True),
            "status was stopped, is running, an operation is in progress",
        ),
        (None, "no longer in the list"),
    ],
)
def test_a_changed_cvm_is_skipped_with_its_changes(now: Cvm | None, reason: str) -> None:
    plan = held(undo_of(FLEET), [*([now] if now else []), *FLEET[1:]])
    assert [target.cvm for target in plan.targets] == FLEET[1:]
    assert [(each.reason, each.selected) for each in plan.drifted] == [(f"changed: {reason}" if now else reason, True)]
    assert messages_of(plan) == ["skipped 1 of 3 CVMs taken down by the run: changed since"]


def test_a_cvm_that_runs_again_is_as_wanted_even_with_a_new_name() -> None:
    plan = held(undo_of([ONE]), [replace(moved(ONE, name="b"), status="running")])
    assert (plan.targets, plan.drifted) == ((), ())
    assert ([each.reason for each in plan.skipped], plan.has_matches) == (["already running"], True)


def test_a_cvm_protected_by_the_settings_is_skipped() -> None:
    guards = merge_guards(Guards(), Guards.model_validate({"protect": {"name": ["dev-1"]}}))
    plan = held(undo_of(FLEET), FLEET, guards=guards)
    assert [target.cvm for target in plan.targets] == FLEET[1:]
    assert [each.reason for each in plan.drifted] == ["changed: now protected by name dev-1"]


def test_a_cvm_without_a_hashid_is_found_by_its_uuid() -> None:
    nameless = moved(ONE, id=None)
    assert [target.cvm for target in held(undo_of([nameless]), [ONE]).targets] == [ONE]
    assert [target.cvm for target in held(undo_of([ONE]), [nameless]).targets] == [nameless]


def test_gpus_to_start_are_a_warning() -> None:
    plan = held(undo_of([ONE]), [replace(ONE, gpus=8)])
    assert any("new 24-hour minimum up front" in warning for warning in messages_of(plan))


def late_undo() -> Undo:
    last_seen = ("stopping", "running", "error")
    late = (TakenDown(each.ref, status, late=True) for each, status in zip(FLEET, last_seen, strict=True))
    return Undo("a run", tuple(late))


def test_a_cvm_that_went_down_after_the_run_is_started_and_named() -> None:
    plan = held(late_undo(), FLEET)
    assert [target.cvm for target in plan.targets] == FLEET
    assert messages_of(plan) == ["3 CVMs not seen down by the run, down now, started too: dev-1, dev-2, dev-3"]


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (replace(ONE, status="stopping"), "changed: not down, but stopping"),
        (replace(ONE, status="stopped", in_progress=True), "changed: an operation is in progress"),
        (moved(ONE, name="prod-1"), "changed: name was dev-1, is prod-1"),
        (moved(ONE, teepod_id=2, teepod="prod-2"), "changed: teepod was prod-1 (#1), is prod-2 (#2)"),
        (replace(ONE, status="running"), "already running"),
        (None, "no longer in the list"),
    ],
)
def test_a_late_cvm_that_is_up_or_changed_is_not_started(now: Cvm | None, reason: str) -> None:
    plan = held(late_undo(), [*([now] if now else []), *FLEET[1:]])
    assert [target.cvm for target in plan.targets] == FLEET[1:]
    assert [each.reason for each in plan.skipped] == [reason]


def test_max_percent_of_an_undo_counts_the_cvms_up_at_planning() -> None:
    fleet = [*FLEET, *(cvm(number, "other", "stopped") for number in range(4, 11))]

    def percent(up_then: int | None) -> tuple[bool, str]:
        undo = replace(undo_of(FLEET), up_then=up_then)
        guards = Guards.model_validate({"max_percent": 50})
        (check,) = held(undo, fleet, guards=guards, whole_of_starts=undo.whole_of_starts(fleet)).guards
        return check.ok, check.message

    assert percent(6) == (
        True,
        (
            "3 targets to start are 50.0% of the 6 CVMs of the workspace that were up when the run to undo was "
            "planned, at most 50% allowed"
        ),
    )
    assert percent(5)[0] is False
    assert "100.0% of the 3 CVMs of the workspace that are up now, or that the run to undo took" in percent(None)[1]


@given(INVENTORIES, INVENTORIES, st.sets(st.integers(0, 11)))
def test_an_undo_only_starts_cvms_of_the_run_that_are_down(then: list[Cvm], now: list[Cvm], taken: set[int]) -> None:
    undo = undo_of(each for number, each in enumerate(then) if number in taken)
    plan = held(undo, now)
    was = {target.ref.key: target for target in undo.targets}
    for target in plan.targets:
        assert target.action is Action.START
        assert target.cvm.status in DOWN
        assert not target.cvm.in_progress
        assert was[target.cvm.ref.key] == TakenDown(target.cvm.ref, target.cvm.status)
    told = {target.cvm.ref.key for target in plan.targets} | {each.cvm.ref.key for each in plan.skipped}
    assert told == {each.ref.key for each in now} | set(was)
