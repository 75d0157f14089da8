"""Guards: exact limits and clear denominators."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playbook.guards import Denominator, check_guards, merge_guards
from orchestrator.playbook.schema import Guards, Playbook
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import is_allowed, plan_of


def guards(**keys: object) -> Guards:
    return Guards.model_validate(keys)


def test_max_targets_allows_exactly_its_number() -> None:
    (at,) = check_guards(guards(max_targets=3), targets=3, up=9, protected=0)[:1]
    (above,) = check_guards(guards(max_targets=3), targets=4, up=9, protected=0)[:1]
    assert (at.ok, above.ok) == (True, False)
    assert above.message == "4 targets, at most 3 allowed"


@pytest.mark.parametrize(
    ("targets", "up", "percent", "ok"),
    [
        (1, 2, "50", True),
        (501, 1000, "50", False),
        (1, 3, "33.3333", False),
        (1, 3, "33.3334", True),
        (333, 1000, "33.3%", True),
        (3, 3, "100", True),
        (0, 0, "1", True),
        (100_001, 1_000_000_000, "0.01", False),
    ],
)
def test_max_percent_is_exact(targets: int, up: int, percent: str, *, ok: bool) -> None:
    (check,) = check_guards(guards(max_percent=percent), targets=targets, up=up, protected=0)
    assert check.ok is ok


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.decimals("0.001", 100, places=3))
def test_the_shown_percentage_is_on_the_right_side_of_the_limit(up: int, some: int, percent: Decimal) -> None:
    (check,) = check_guards(guards(max_percent=str(percent)), targets=min(some, up), up=up, protected=0)
    assert check.ok is (min(some, up) * 100 <= percent * up)
    assert check.ok is (check.value <= percent)


def test_a_refusal_by_percentage_names_the_denominator() -> None:
    (check,) = check_guards(guards(max_percent="50%"), targets=1001, up=2000, protected=0)
    assert check.message == (
        "1001 targets are 50.1% of the 2000 CVMs of the workspace that are up now, at most 50% allowed"
    )


def test_the_denominator_is_all_cvms_up() -> None:
    fleet = [
        cvm(1, "a"),
        cvm(2, "b"),
        cvm(3, "kms-1"),
        cvm(4, "c", "stopped"),
        cvm(5, "d", "stopped", in_progress=True),
    ]
    book = playbook({"name": ["a", "kms-1", "c"]}, guards={"max_percent": 25, "protect": {"name": "kms-*"}})
    percent, protect = plan_of(book, fleet).guards
    assert (percent.ok, percent.value) == (True, 25)
    assert (protect.ok, protect.value, protect.limit) == (True, 1, None)


@given(
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
)
def test_the_smaller_of_two_limits_wins(left: int | None, right: int | None, of: int | None, other: int | None) -> None:
    both = merge_guards(guards(max_targets=left, max_percent=of), guards(max_targets=right, max_percent=other))
    assert both.max_targets == min((each for each in (left, right) if each is not None), default=None)
    assert both.max_percent == min((each for each in (of, other) if each is not None), default=None)


def test_protections_add_up() -> None:
    both = merge_guards(
        guards(protect={"name": "a", "app_id": "b2"}), guards(protect={"name": ["b", "a"], "teepod": "1"})
    )
    assert (both.protect.name, both.protect.app_id, both.protect.teepod) == (["b", "a"], ["b2"], ["1"])
    book = playbook({"all": "true"})
    fleet = [
        cvm(1, "a", app=None, pod=2),
        cvm(2, "z", app="b2", pod=2),
        cvm(3, "z", app=None, pod=1),
        cvm(4, "z", app="c3", pod=2),
        cvm(5, "z", app=None, pod=2),
    ]
    plan = plan_of(book, fleet, guards=both)
    assert [target.cvm.ref.id for target in plan.targets] == ["cvm_4"]
    assert [each.reason for each in plan.skipped] == [
        "protected by name a",
        "protected by app_id b2",
        "protected by teepod 1",
        "its app_id is not known, and `protect` needs that fact",
    ]


def test_one_failed_guard_is_enough_to_refuse() -> None:
    fleet = [cvm(1), cvm(2)]
    assert not is_allowed(plan_of(playbook({"all": "true"}, guards={"max_targets": 1, "max_percent": 100}), fleet))
    assert is_allowed(plan_of(playbook({"all": "true"}, guards={"max_targets": 2, "max_percent": 100}), fleet))


def test_starts_are_counted_as_a_percentage_of_all_cvms_of_the_workspace() -> None:
    fleet = [cvm(n, status="stopped") for n in range(4)] + [cvm(9)]
    book = Playbook.model_validate(
        {
            "name": "x",
            "guards": {"max_percent": 50, "max_targets": 3},
            "steps": [{"action": "start", "select": {"all": "true"}}],
        }
    )
    number, percent = plan_of(book, fleet).guards
    assert (number.ok, number.value) == (False, 4)
    assert (percent.ok, percent.value) == (False, 80)
    assert "4 targets to start are 80.0% of the 5 CVMs of the workspace, at most" in percent.message


def test_stops_and_starts_have_separate_percentages() -> None:
    checks = check_guards(
        guards(max_percent="50"), targets=7, up=10, protected=0, starts=2, whole_of_starts=Denominator(10)
    )
    assert [(check.value, check.ok) for check in checks] == [(50, True), (20, True)]
