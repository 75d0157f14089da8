"""Plan files: the possible targets of a later run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cvm import Cvm
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.frozen_plan import FrozenPlan, FrozenTarget
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.recheck import list_changes
from orchestrator.playbook.schema import Guards, Playbook
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import LIMITS, messages_of, plan_of

THEN = datetime(2026, 11, 23, 8, tzinfo=UTC)
FLEET = [cvm(1, "dev-1"), cvm(2, "dev-2", pod=2), cvm(3, "kms-1", app="b2")]
BOOK = playbook({"name": "*"})


def lock_of(book: Playbook = BOOK, fleet: list[Cvm] | None = None) -> FrozenPlan:
    plan = plan_of(book, FLEET if fleet is None else fleet)
    return FrozenPlan(
        loaded=LoadedPlaybook(book, Path("p.yaml"), "0" * 64, b"", {}),
        guards=merge_guards(book.guards, Guards()),
        limits=LIMITS,
        steps=plan.steps,
        targets=tuple(FrozenTarget(each.step, each.action, each.cvm) for each in plan.targets),
        made_at=THEN,
        actor="me@here",
        version="1",
        cloud_url="https://cloud",
        digest="0" * 64,
    )


def held(lock: FrozenPlan, fleet: list[Cvm], book: Playbook = BOOK, *, hours: float = 0, **more: Any) -> Plan:  # noqa: ANN401
    plan = plan_of(book, fleet, target_filter=lock.filter_target, **more)
    return lock.apply_to_plan(plan, now=THEN + timedelta(hours=hours), version="1")


def moved(one: Cvm, **fields: object) -> Cvm:
    return replace(one, ref=replace(one.ref, **fields))  # type: ignore[arg-type] # any field of it


def test_without_changes_the_plan_equals_the_plan_file() -> None:
    assert held(lock_of(), FLEET) == plan_of(BOOK, FLEET)


ONE = FLEET[0]


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (moved(ONE, name="prod-1"), "name was dev-1, is prod-1"),
        (moved(ONE, app_id="c3"), "app was a1, is c3"),
        (moved(ONE, teepod_id=2, teepod="prod-2"), "teepod was prod-1 (#1), is prod-2 (#2)"),
        (moved(ONE, teepod=None), "teepod was prod-1 (#1), is #1"),
        (moved(ONE, vm_uuid="f" * 32), f"its UUID was {1:032x}, is {'f' * 32}"),
        (moved(ONE, id="cvm_9"), "its id was cvm_1, is cvm_9"),
        (replace(ONE, status="error"), "status was running, is error"),
        (replace(ONE, instance_type="tdx.large"), "instance type was None, is tdx.large"),
        (replace(ONE, in_progress=True), "an operation is in progress"),
        (
            replace(moved(ONE, name="b"), status="stopping", in_progress=True),
            "name was dev-1, is b, status was running, is stopping, an operation is in progress",
        ),
        (None, "no longer in the list"),
    ],
)
def test_a_changed_target_is_skipped_with_its_changes(now: Cvm | None, reason: str) -> None:
    plan = held(lock_of(), [*([now] if now else []), *FLEET[1:]])
    assert [target.cvm for target in plan.targets] == FLEET[1:]
    assert [each.reason for each in plan.drifted] == [f"changed: {reason}" if now else reason]
    assert any("skipped 1 of 3 targets in the plan file: changed since" in warning for warning in messages_of(plan))


@pytest.mark.parametrize(
    "now",
    [
        moved(ONE, vm_uuid="00000000-0000-0000-0000-000000000001"),
        moved(ONE, id=None),
        replace(ONE, gpus=0, disk_gb=None),
    ],
    ids=["dashes", "a list without hashids", "what is not compared"],
)
def test_another_spelling_of_the_same_facts_is_no_change(now: Cvm) -> None:
    assert list(list_changes(ONE, now)) == []
    assert held(lock_of(), [now, *FLEET[1:]]).targets[0].cvm is now


def test_half_a_surrogate_pair_in_a_name_is_no_change() -> None:
    assert list(list_changes(moved(ONE, name="\\ud800"), moved(ONE, name="\ud800"))) == []


def test_a_target_that_is_down_already_has_not_drifted() -> None:
    plan = held(lock_of(), [replace(ONE, status="stopped"), *FLEET[1:]])
    assert [(each.reason, each.selected) for each in plan.skipped] == [("already stopped", True)]
    assert plan.drifted == ()


def test_a_newly_protected_target_has_drifted() -> None:
    guards = merge_guards(Guards(), Guards.model_validate({"protect": {"name": "kms-*"}}))
    plan = held(lock_of(), FLEET, guards=guards)
    assert [each.reason for each in plan.drifted] == ["changed: now protected by name kms-*"]
    assert [(check.name, check.value) for check in plan.guards] == [("protect", 1)]


def test_newly_selected_cvms_are_skipped_and_counted() -> None:
    was_down = replace(cvm(4, "dev-4"), status="stopped")
    plan = held(lock_of(fleet=[*FLEET, was_down]), [*FLEET, cvm(4, "dev-4"), cvm(5, "dev-5")])
    assert [target.cvm for target in plan.targets] == FLEET
    assert [each.why.code for each in plan.skipped] == [SkipReason.NOT_IN_PLAN_FILE] * 2
    assert any(warning.startswith("2 CVMs selected by the playbook now") for warning in messages_of(plan))


def test_guards_compare_the_remaining_targets_with_the_present_fleet() -> None:
    lock = lock_of()
    fleet = [FLEET[0], replace(FLEET[1], status="error"), replace(FLEET[2], status="stopped")]
    guards = merge_guards(Guards(), Guards.model_validate({"max_targets": 1, "max_percent": 50}))
    plan = held(lock, fleet, guards=guards)
    assert [(check.value, check.ok) for check in plan.guards] == [(1, True), (50, True)]


def test_a_cvm_of_another_step_or_no_step_has_drifted() -> None:
    first = playbook({"name": "dev-1"}, {"name": "dev-2"})
    second = playbook({"name": "dev-2"}, {"name": "x"})
    plan = held(lock_of(first), FLEET, second)
    assert [each.reason for each in plan.skipped] == [
        "changed: no longer selected by the playbook",
        "changed: stop in 'step 2' became stop in 'step 1'",
        "not selected",
    ]


def test_the_goal_of_another_action_is_no_success() -> None:
    """A CVM to be stopped, now selected by a start step, is not reported as running already."""
    start = BOOK.acting_steps[0].model_copy(update={"action": "start"})
    reason = lock_of().filter_target(ONE, start, Reason(SkipReason.ALREADY_UP, "running"))
    assert reason is not None
    assert reason.text == "changed: stop in 'step 1' became start in 'step 1'"


def test_the_steps_are_those_of_the_file() -> None:
    lock = lock_of()
    assert held(lock, FLEET, settle_timeout=1).steps == lock.steps


@pytest.mark.parametrize(("hours", "said"), [(23, None), (25, "the plan file is 1d1h old"), (-1, "from the future")])
def test_an_old_plan_is_a_warning(hours: float, said: str | None) -> None:
    warnings = messages_of(held(lock_of(), FLEET, hours=hours))
    assert (said in warnings[0]) if said else not warnings


def test_a_plan_of_another_version_is_a_warning() -> None:
    plan = lock_of().apply_to_plan(plan_of(BOOK, FLEET), now=THEN, version="2")
    assert messages_of(plan) == ["the plan file was made by version 1, this is version 2"]
