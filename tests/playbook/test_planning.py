"""The plan of a playbook for an inventory."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.limits import StepLimits
from orchestrator.playbook.plan import StepLoad, estimate_plan
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Playbook
from orchestrator.playbook.steps import Step
from tests.playbook.fleet import INVENTORIES, SELECTS, cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import messages_of, plan_of


@given(st.lists(SELECTS, min_size=1, max_size=3), INVENTORIES, st.randoms(use_true_random=False))
def test_every_cvm_is_once_a_target_or_skipped_in_any_order(
    selects: list[dict[str, object]],
    inventory: list[Cvm],
    random: Any,  # noqa: ANN401 - hypothesis' own
) -> None:
    guards = {"protect": {"name": ["kms-*"], "app_id": ["b2"]}}
    book = playbook(*selects, guards=guards)
    plan = plan_of(book, inventory)
    everyone = [target.cvm for target in plan.targets] + [each.cvm for each in plan.skipped]
    assert sorted(each.ref.key for each in everyone) == sorted(each.ref.key for each in inventory)
    for target in plan.targets:
        assert not target.cvm.down
        assert not target.cvm.ref.name.startswith("kms-")
        assert target.cvm.ref.app_id != "b2"
    assert all(each.reason for each in plan.skipped)
    shuffled = list(inventory)
    random.shuffle(shuffled)
    again = plan_of(book, shuffled)
    assert {(t.step, t.cvm.ref.key) for t in again.targets} == {(t.step, t.cvm.ref.key) for t in plan.targets}
    assert {(s.reason, s.cvm.ref.key) for s in again.skipped} == {(s.reason, s.cvm.ref.key) for s in plan.skipped}


def test_without_a_status_every_cvm_that_is_not_down_is_a_target() -> None:
    up = ["running", "stopping", "error", "unknown", "hibernated", "creating"]
    fleet = [cvm(n, status=status) for n, status in enumerate(up)]
    fleet += [cvm(10, status="stopped", in_progress=True), cvm(11, status="stopped"), cvm(12, status="exited")]
    plan = plan_of(playbook({"all": "true"}), fleet)
    assert [target.cvm.ref.id for target in plan.targets] == [
        "cvm_0",
        "cvm_1",
        "cvm_2",
        "cvm_3",
        "cvm_4",
        "cvm_5",
        "cvm_10",
    ]
    assert [each.reason for each in plan.skipped] == ["already stopped", "already exited"]


def test_a_cvm_belongs_to_the_first_step_that_covers_it_and_steps_keep_their_order() -> None:
    fleet = [cvm(1, "b"), cvm(2, "a"), cvm(3, "c")]
    plan = plan_of(playbook({"name": "a"}, {"name": ["a", "b"]}), fleet)
    assert [(target.step, target.cvm.ref.name) for target in plan.targets] == [("step 1", "a"), ("step 2", "b")]
    assert [each.reason for each in plan.skipped] == ["not selected"]


def test_a_cvm_without_hashid_and_uuid_is_skipped() -> None:
    plan = plan_of(playbook({"all": "true"}), [Cvm(ref=CvmRef(None, None, "dev-1"), status="creating")])
    assert not plan.targets
    assert "can't be addressed" in plan.skipped[0].reason


def test_skipped_cvms_count_as_matches() -> None:
    assert plan_of(playbook({"all": "true"}), [cvm(status="stopped")]).has_matches
    assert plan_of(playbook({"all": "true"}, guards={"protect": {"name": "*"}}), [cvm()]).has_matches
    assert not plan_of(playbook({"name": "x"}), [cvm()]).has_matches
    assert not plan_of(playbook({"status": "running"}), [cvm(status="stopped")]).has_matches


def test_guards_and_warnings_ignore_cvms_removed_by_the_filter() -> None:
    heard: list[tuple[str, str | None, str | None]] = []

    def target_filter(one: Cvm, step: Step | None, reason: Reason | None) -> Reason | None:
        heard.append((one.ref.name, step.name if step else None, reason.text if reason else None))
        return reason or (Reason(SkipReason.DRIFTED, "it has a GPU now") if one.gpus else None)

    fleet = [cvm(1, "a", gpus=1), cvm(2, "b"), cvm(3, "kms-1"), cvm(4, "other")]
    book = playbook({"name": ["a", "b", "kms-1"]}, guards={"max_targets": 1, "protect": {"name": "kms-*"}})
    plan = plan_of(book, fleet, target_filter=target_filter)
    assert heard == [
        ("a", "step 1", None),
        ("b", "step 1", None),
        ("kms-1", "step 1", "protected by name kms-*"),
        ("other", None, "not selected"),
    ]
    assert [target.cvm.ref.name for target in plan.targets] == ["b"]
    assert [each.reason for each in plan.skipped] == [
        "changed: it has a GPU now",
        "protected by name kms-*",
        "not selected",
    ]
    assert [(check.name, check.value, check.ok) for check in plan.guards] == [
        ("max_targets", 1, True),
        ("protect", 1, True),
    ]
    assert messages_of(plan) == []


def test_a_steps_own_settle_timeout_wins() -> None:
    book = Playbook.model_validate(
        {
            "name": "x",
            "steps": [
                {"action": "stop", "select": {"all": "true"}, "settle": {"timeout": "5m"}},
                {"action": "stop", "select": {"name": "a"}},
            ],
        }
    )
    assert [(step.name, step.settle_timeout) for step in plan_of(book, []).acting_steps] == [
        ("step 1", 300),
        ("step 2", 600),
    ]


def test_gpus_rentals_unmatched_values_and_a_shifting_list_are_warnings() -> None:
    fleet = [cvm(1, gpus=1, gpu_rental=True), cvm(2, gpus=0)]
    plan = plan_of(
        playbook({"name": ["dev-*", "x"]}), fleet, more_warnings=[PlanWarning(WarningCode.LIST_SHIFTING, "it shifted")]
    )
    assert len(plan.targets) == 2
    said = "\n".join(messages_of(plan))
    assert all(each in said for each in ("no CVM named 'x'", "GPU rental", "24-hour minimum", "it shifted"))
    assert len(messages_of(plan)) == 4


@pytest.mark.parametrize(
    ("targets", "rate", "burst", "requests", "seconds"),
    [(0, 5, 5, 0, 0), (1, 5, 5, 4, 0), (100, 10, 5, 103, 9.8), (101, 1, 1, 107, 106), (1000, 0.5, 1, 1030, 2058)],
)
def test_the_estimate_is_one_stop_a_target_and_a_few_batches(
    targets: int, rate: float, burst: int, requests: int, seconds: float
) -> None:
    found = estimate_plan([StepLoad(targets, RunLimits(rate, burst, 1, 1))], burst, batch_size=100)
    assert (found.requests, round(found.seconds, 6)) == (requests, seconds)


def test_the_total_counts_targets_only() -> None:
    price = Decimal("0.1")
    fleet = [cvm(n, hourly_compute=price, disk_gb=Decimal(10)) for n in range(3)]
    fleet.append(cvm(9, status="stopped", hourly_compute=price))
    total = plan_of(playbook({"all": "true"}), fleet).stopped_total
    assert (total.compute, total.storage) == (Decimal("0.3"), Decimal("0.003"))


def steps_of(*steps: tuple[str, dict[str, object]], **keys: object) -> Playbook:
    """Make a playbook of these actions and selects."""
    written = [{"name": f"step {n}", "action": action, "select": each} for n, (action, each) in enumerate(steps, 1)]
    return Playbook.model_validate({"name": "example", "steps": written, **keys})


def test_each_action_targets_cvms_with_something_to_do() -> None:
    fleet = [cvm(1, status="running"), cvm(2, status="stopped"), cvm(3, status="error"), cvm(4, status="exited")]
    for action, chosen in (("shutdown", [1, 3]), ("start", [2, 4]), ("restart", [1])):
        plan = plan_of(steps_of((action, {"all": "true"})), fleet)
        assert [target.cvm.ref.id for target in plan.targets] == [f"cvm_{n}" for n in chosen]
        assert {
            (target.action, step.action) for target, step in zip(plan.targets, plan.acting_steps, strict=False)
        } == {(action, action)}
        assert plan.has_matches
    reasons = [each.reason for each in plan_of(steps_of(("start", {"all": "true"})), fleet).skipped]
    assert reasons == ["already running", "not down, but error"]


def test_a_cvm_belongs_to_the_first_step_with_something_to_do() -> None:
    fleet = [cvm(1, "a"), cvm(2, "b"), cvm(3, "c", status="stopped")]
    plan = plan_of(steps_of(("shutdown", {"all": "true"}), ("start", {"name": ["b", "c"]})), fleet)
    assert [(target.step, target.cvm.ref.name) for target in plan.targets] == [
        ("step 1", "a"),
        ("step 1", "b"),
        ("step 2", "c"),
    ]
    (warning,) = messages_of(plan)
    assert warning.startswith("step 'step 2' also selects CVMs of the earlier step 'step 1' (1 CVM)")


@pytest.mark.parametrize(
    ("on_failure", "outcome", "warned"),
    [
        ("stop", ["failed", "unsettled"], True),
        ("stop", ["failed", "settled"], False),
        ("stop", ["skipped"], False),
        ("continue", ["failed", "unsettled"], False),
    ],
)
def test_a_step_that_never_runs_is_a_warning(on_failure: str, outcome: list[str], warned: bool) -> None:
    result = {"result": {"step": "first", "outcome": outcome}}
    steps = [
        {"name": "first", "action": "stop", "select": {"all": "true"}, "on_failure": on_failure},
        {"name": "then", "action": "stop", "select": result},
    ]
    warnings = messages_of(plan_of(Playbook.model_validate({"name": "example", "steps": steps}), [cvm()]))
    assert [each for each in warnings if "'then'" in each and "never runs" in each] == [*warnings]
    assert bool(warnings) is warned


@pytest.mark.parametrize(
    ("keys", "unmet"),
    [
        ({"name": "x", "teepod": "1"}, "name"),
        ({"name": "dev-*", "teepod": "9"}, "teepod"),
        ({"any": [{"name": "x"}]}, "any"),
        ({"all": "true", "exclude": {"name": "dev-1"}}, "exclude"),
    ],
)
def test_the_skip_reason_names_the_first_unmet_key(keys: dict[str, object], unmet: str) -> None:
    (skipped,) = plan_of(playbook(keys), [cvm()]).skipped
    assert (skipped.reason, skipped.why.in_full) == ("not selected", f"not selected: {unmet}")


def test_stopped_and_started_totals_are_separate() -> None:
    price = Decimal("0.1")
    fleet = [cvm(1, hourly_compute=price), cvm(2, status="stopped", hourly_compute=price)]
    fleet.append(cvm(3, status="stopped", gpus=1))
    plan = plan_of(steps_of(("shutdown", {"all": "true"}), ("start", {"all": "true"})), fleet)
    assert plan.started_total is not None
    assert (plan.stopped_total.compute, plan.started_total.compute, plan.started_total.compute_unknown) == (
        price,
        price,
        1,
    )
    assert "to start: each is charged a new 24-hour minimum up front" in messages_of(plan)[0]
    assert plan_of(playbook({"all": "true"}), fleet).started_total is None


def test_the_estimate_batches_only_stops() -> None:
    limits = RunLimits(5, 5, 10, 10, dispatch="batch")
    stops, starts = StepLoad(100, limits), StepLoad(100, limits, stops=False)
    assert estimate_plan([stops], 5, 100).requests == 5
    assert estimate_plan([starts], 5, 100).requests == 103
    assert estimate_plan([StepLoad(50, limits), StepLoad(50, limits, stops=False)], 5, 100).requests == 54


def test_the_estimate_uses_the_limits_of_each_step() -> None:
    written = steps_of(("stop", {"name": "slow-*"}), ("shutdown", {"all": "true"}))
    limits = StepLimits.model_validate({"requests_per_second": "0.5"})
    steps = [written.steps[0].model_copy(update={"limits": limits}), written.steps[1]]
    fleet = [cvm(n, "slow-1" if n < 11 else "fast-1") for n in range(20)]
    found = plan_of(written.model_copy(update={"steps": steps}), fleet).estimate
    assert found.requests == 23
    assert found.seconds == pytest.approx((11 - 5) / 0.5 + 12 / 5)


def test_a_step_that_may_start_gpus_again_is_a_warning_with_its_name() -> None:
    stop = {"name": "night", "action": "stop", "select": {"all": "true"}}
    start = {"name": "day", "action": "start", "select": {"result": {"step": "night", "outcome": "settled"}}}
    book = Playbook.model_validate({"name": "x", "steps": [stop, start]})
    said = messages_of(plan_of(book, [cvm(1, gpus=1), cvm(2, gpus=0)]))
    assert "step 'day' may start up to 1 CVM with GPUs: each is charged a new 24-hour minimum" in said
    assert not any("'day'" in each for each in messages_of(plan_of(book, [cvm(2, gpus=0)])))
