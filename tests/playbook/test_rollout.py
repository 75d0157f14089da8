"""Order, waves, survivors and deadline as parts of one plan."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm, is_up
from orchestrator.playbook.guards import merge_guards, needs_whole_workspace
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.schema import Guards, Playbook
from tests.playbook.fleet import INVENTORIES, cvm
from tests.playbook.loading import VALID, load, refusal
from tests.playbook.plans import is_allowed, messages_of, plan_of


def book(*steps: dict[str, object], **keys: object) -> Playbook:
    defaults = {"action": "stop", "select": {"all": "true"}}
    named = [{"name": f"step {number}", **defaults, **step} for number, step in enumerate(steps, start=1)]
    return Playbook.model_validate({"name": "example", "steps": named, **keys})


def waves(plan: Plan) -> list[tuple[str, int]]:
    return [(target.cvm.ref.name, target.wave) for target in plan.targets]


FLEET = [cvm(number, f"web-{number}", app=f"a{number % 2}", pod=number % 3) for number in range(1, 11)]
COSTS = [cvm(number, name, hourly_compute=Decimal(cost)) for number, (name, cost) in enumerate([("a", 1), ("b", 3)])]


def test_the_order_decides_who_is_the_canary() -> None:
    step: dict[str, object] = {"waves": ["1", "100%"]}
    assert waves(plan_of(book(step), COSTS)) == [("a", 1), ("b", 2)]
    assert waves(plan_of(book({**step, "order_by": "cost"}), COSTS)) == [("b", 1), ("a", 2)]


def test_each_step_has_waves_of_its_own() -> None:
    first: dict[str, object] = {"select": {"app_id": "a0"}, "waves": ["1", "2"]}
    plan = plan_of(book(first, {"waves": ["50%"]}), FLEET)
    assert [target.wave for target in plan.targets] == [1, 2, 3, 3, 3, 1, 1, 1, 2, 2]


def test_waves_are_shares_of_the_targets_without_survivors() -> None:
    guards = {"keep_running": {"per": "app_id", "min": "2"}}
    plan = plan_of(book({"waves": ["50%"]}, guards=guards), FLEET)
    assert [wave for _, wave in waves(plan)] == [1, 1, 1, 2, 2, 2]


def test_survivors_are_skipped_last_first_and_a_guard_says_how_many() -> None:
    guards = {"keep_running": {"per": "app_id", "min": "1"}, "max_targets": "8"}
    plan = plan_of(book({"order_by": "name"}, guards=guards), FLEET)
    kept = {each.cvm.ref.name: each.reason for each in plan.skipped}
    assert kept == {f"web-{n}": f"kept running: 1 of 5 of app a{n % 2} stays up" for n in (9, 10)}
    assert [(check.name, check.limit, check.value, check.ok) for check in plan.guards] == [
        ("max_targets", 8, 8, True),
        ("keep_running", 1, 2, True),
    ]
    assert plan.has_matches


def test_a_plan_of_survivors_only_is_no_error() -> None:
    guards = {"keep_running": {"per": "app_id", "min": "100%"}}
    plan = plan_of(book({}, guards=guards), FLEET)
    assert (plan.targets, plan.has_matches, is_allowed(plan)) == ((), True, True)


def test_keep_running_applies_to_restarts_but_not_to_starts() -> None:
    guards = {"keep_running": {"per": "app_id", "min": "1"}}
    fleet = [cvm(1, "up-1"), cvm(2, "up-2"), cvm(3, "down", "stopped")]
    assert waves(plan_of(book({"action": "restart"}, guards=guards), fleet)) == [("up-1", 1)]
    assert waves(plan_of(book({"action": "start"}, guards=guards), fleet)) == [("down", 1)]


def test_all_rules_of_settings_and_playbook_apply() -> None:
    settings = Guards.model_validate({"keep_running": {"per": "app_id", "min": "1"}})
    own = Guards.model_validate({"keep_running": [{"per": "teepod", "min": "50%"}, {"per": "app_id", "min": "2"}]})
    both = merge_guards(own, settings)
    assert [(rule.per, str(rule.min)) for rule in both.keep_running or ()] == [
        ("app_id", "1"),
        ("teepod", "50%"),
        ("app_id", "2"),
    ]
    assert merge_guards(Guards(), Guards()).keep_running is None
    assert [needs_whole_workspace(each) for each in (settings, own, Guards())] == [False, True, False]


@given(
    INVENTORIES,
    st.sampled_from(["app_id", "teepod"]),
    st.sampled_from(["1", "2", "34%"]),
    st.sampled_from([None, "cost", "teepod", "name"]),
    st.sampled_from([["1", "50%"], ["10%"], None]),
)
def test_every_target_is_in_one_wave_and_every_group_keeps_its_survivors(
    inventory: list[Cvm], per: str, least: str, by: str | None, sizes: list[str] | None
) -> None:
    step = {key: value for key, value in {"order_by": by, "waves": sizes}.items() if value is not None}
    guards = {"keep_running": {"per": per, "min": least}, "protect": {"name": "kms-*"}}
    plan = plan_of(book({"select": {"name": ["dev-*", "kms-*", "batch"]}, **step}, guards=guards), inventory)
    numbers = [wave for _, wave in waves(plan)]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, max(numbers, default=0) + 1))
    assert sorted(each.ref.key for each in plan.cvms) == sorted(each.ref.key for each in inventory)
    down = {target.cvm.ref.key for target in plan.targets}
    groups: dict[str, list[Cvm]] = {}
    for each in inventory:
        if is_up(each.status, in_progress=each.in_progress):
            group = each.ref.app_id if per == "app_id" else each.ref.teepod
            groups.setdefault(group or each.ref.key, []).append(each)
    for members in groups.values():
        wanted = -(-len(members) * 34 // 100) if least == "34%" else int(least)
        assert sum(each.ref.key not in down for each in members) >= min(wanted, len(members))


def test_a_missed_deadline_is_only_a_warning_with_the_first_target() -> None:
    late = plan_of(book({"waves": ["1", "100%"]}, deadline="10s"), FLEET)
    assert late.deadline is not None
    assert (late.deadline.late, late.deadline.settle, late.deadline.basis) == (list(range(1, 10)), 30, "assumed")
    (warning,) = messages_of(late)
    assert warning == ("the deadline of 10s can't be met: 9 targets too late, first 'web-2', about 30s after the start")
    assert is_allowed(late)
    met = plan_of(book({"waves": ["1", "100%"]}, deadline="10s"), FLEET, settle_seconds={"stop": 5.0})
    assert met.deadline is not None
    assert (met.deadline.ok, met.deadline.basis, messages_of(met)) == (True, "earlier runs", [])
    assert plan_of(book({}), FLEET).deadline is None


def test_a_deadline_includes_the_limits_and_settle_times_of_each_step() -> None:
    ask: dict[str, object] = {"action": "shutdown", "escalate": {"after": "2m"}, "select": {"app_id": "a0"}}
    pull: dict[str, object] = {"limits": {"requests_per_second": "1"}}
    plan = plan_of(book(ask, pull, deadline="1h"), FLEET)
    assert plan.deadline is not None
    assert (plan.deadline.settle, plan.deadline.basis) == (120, "escalate.after")
    first, last = plan.deadline.asked[5], plan.deadline.asked[9]
    assert first >= 120
    assert last - first == pytest.approx(2 / 0.9), "three go at once, the others by one a second"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("settle:", "waves: [1, 1]\n    settle:", 12, "steps[0].waves: sizes are cumulative, so 1"),
        ("settle:", "waves: []\n    settle:", 12, "steps[0].waves is empty"),
        ("settle:", "waves: 10%\n    settle:", 12, "steps[0].waves must be a list"),
        ("settle:", "waves: [1, 150%]\n    settle:", 12, "steps[0].waves[1]: must be at most 100%"),
        ("settle:", "waves: [0, 100%]\n    settle:", 12, "steps[0].waves: a wave of 0 has no target"),
        ("settle:", "order_by: price\n    settle:", 12, "steps[0].order_by must be 'cost', 'teepod' or 'name'"),
        ("max_targets: 5", "keep_running: {per: app, min: 1}", 5, "per must be 'app_id' or 'teepod', not 'app'"),
        ("max_targets: 5", "keep_running: {per: app_id}", 5, "the key 'min' is missing in guards.keep_running"),
        ("max_targets: 5", "keep_running: {per: app_id, min: 0}", 5, "min: must be above 0"),
        ("max_targets: 5", "keep_running: {per: app_id, mim: 1}", 5, "unknown key 'mim' in guards.keep_running"),
        ("max_targets: 5", "keep_running: []", 5, "guards.keep_running: the list is empty"),
        ("max_targets: 5", "keep_running: app_id", 5, "must be a mapping"),
        ("vars:", "deadline: 0\nvars:", 2, "deadline: must be above 0"),
        ("vars:", "deadline: soon\nvars:", 2, "deadline: 'soon' is not a duration"),
    ],
)
def test_an_error_names_line_and_key(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    error = refusal(tmp_path, VALID.replace(old, new), teepod="1")
    assert says in error.message
    assert error.line == line


def test_values_may_come_from_variables(tmp_path: Path) -> None:
    text = VALID.replace("vars:", 'deadline: "${in}"\nvars:\n  in: 5m\n  first: {default: 2}\n  left: 50%')
    text = text.replace("max_targets: 5", 'keep_running: {per: app_id, min: "${left}"}')
    text = text.replace("settle:", 'waves: ["${first}", 100%]\n    settle:')
    loaded = load(tmp_path, text, teepod="1").playbook
    assert loaded.deadline == 300
    assert [str(size) for size in loaded.acting_steps[0].waves or ()] == ["2", "100%"]
    assert [str(rule.min) for rule in loaded.guards.keep_running or ()] == ["50%"]
