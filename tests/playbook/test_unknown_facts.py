"""An unknown fact never matches a select, and always matches a protection or an `exclude`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.outcome import Reason, SkipReason
from orchestrator.playbook.planning import list_cvms_lacking_facts
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.select import Coverage, find_coverage
from tests.playbook.fleet import INVENTORIES, SELECTS, cvm
from tests.playbook.loading import playbook, select
from tests.playbook.plans import plan_of

PROTECTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["kms-*", "dev-1", "web[1]"]),
        "app_id": st.sampled_from(["a1", "b2"]),
        "teepod": st.sampled_from(["1", "prod-2", "prod-*"]),
    },
)


def without(one: Cvm, *facts: str) -> Cvm:
    """Return the CVM of a list without these facts."""
    known = {key: None if key in facts else value for key, value in one.ref.document().items()}
    return replace(one, ref=CvmRef.of(known))


@given(INVENTORIES, SELECTS, SELECTS, PROTECTS, st.data())
def test_hiding_facts_never_adds_a_target(
    inventory: list[Cvm],
    keys: dict[str, object],
    excluded: dict[str, object],
    protect: dict[str, object],
    data: st.DataObject,
) -> None:
    some = st.sets(st.sampled_from(["app_id", "teepod_id", "teepod"]))
    hidden = [without(each, *data.draw(some)) for each in inventory]
    book = playbook({"any": [keys], "exclude": excluded}, guards={"protect": protect})
    whole, part = ({target.cvm.ref.id for target in plan_of(book, fleet).targets} for fleet in (inventory, hidden))
    assert part <= whole


@pytest.mark.parametrize(
    ("protect", "fact"),
    [({"app_id": "b2"}, "app_id"), ({"teepod": "2"}, "teepod"), ({"teepod": "prod-*"}, "teepod")],
)
def test_a_possibly_protected_cvm_is_skipped_as_unknown(protect: dict[str, object], fact: str) -> None:
    book = playbook({"all": "true"}, guards={"protect": protect})
    plan = plan_of(book, [cvm(1, app=None, pod=None), cvm(2, app="c3", pod=9, name="x")])
    left = {each.cvm.ref.id: each for each in plan.skipped}["cvm_1"]
    assert left.why == Reason(SkipReason.FACT_UNKNOWN, fact, "protect")
    assert left.selected
    assert plan.guards[0].message.endswith("1 other CVM skipped: name, app or teepod not known")


@pytest.mark.parametrize(
    ("exclude", "fact"),
    [
        ({"app_id": "b2"}, "app_id"),
        ({"teepod": "prod-2"}, "teepod"),
        ({"name": "dev-*", "app_id": "b2"}, "app_id"),
        ({"any": [{"name": "x"}, {"teepod": "7"}]}, "teepod"),
        ({"all": "true", "exclude": {"app_id": "b2"}}, "app_id"),
    ],
)
def test_a_possibly_excluded_cvm_is_skipped_as_unknown(exclude: dict[str, object], fact: str) -> None:
    plan = plan_of(playbook({"all": "true", "exclude": exclude}), [cvm(1, app=None, pod=None)])
    assert [each.why for each in plan.skipped] == [Reason(SkipReason.FACT_UNKNOWN, fact, "exclude")]


def test_a_certainly_unprotected_cvm_needs_no_further_fact() -> None:
    """A known fact decides its key alone; a pattern for every name also matches an unknown name."""
    book = playbook({"all": "true", "exclude": {"name": "other", "app_id": "b2"}}, guards={"protect": {"app_id": "b2"}})
    assert [target.cvm.ref.id for target in plan_of(book, [cvm(1, pod=None)]).targets] == ["cvm_1"]
    assert find_coverage(select(all="true", exclude={"name": "*"}), cvm(name="")) is Coverage.NO


def test_an_unknown_fact_is_never_selected() -> None:
    plan = plan_of(playbook({"teepod": "1"}), [cvm(1, pod=None), cvm(2, pod=2), cvm(3, pod=1)])
    assert [each.why for each in plan.skipped] == [
        Reason(SkipReason.FACT_UNKNOWN, "teepod", "select"),
        Reason(SkipReason.NOT_SELECTED, "teepod"),
    ]
    assert not any(each.selected for each in plan.skipped)


def test_facts_are_only_needed_of_possible_targets() -> None:
    book = playbook({"name": "dev-*"})
    guards = Guards.model_validate({"protect": {"app_id": "b2"}})
    needed, down, other = cvm(1, app=None), cvm(2, status="stopped", app=None), cvm(3, "other", app=None)
    assert list_cvms_lacking_facts(book, guards, [needed, down, other, cvm(4)]) == [needed]
