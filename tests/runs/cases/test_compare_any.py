"""A property of the comparison: a plan agrees with what was read from the plan, and with nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm
from orchestrator.playbook.plan import Plan
from orchestrator.runs.cases.compare import compare_plan
from orchestrator.runs.cases.schema import Expect
from tests.playbook.fleet import INVENTORIES
from tests.playbook.loading import playbook
from tests.playbook.plans import plan_of

BOOK = playbook({"name": ["dev-*"]}, {"teepod": ["1"]}, guards={"protect": {"name": ["kms-*"]}})


def expect_of(plan: Plan) -> dict[str, dict[str, list[str]]]:
    """Write the expectations of a plan, by identifiers."""
    targets: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    for target in plan.targets:
        targets.setdefault(target.step, []).append(target.cvm.ref.address)
    for each in plan.skipped:
        skipped.setdefault(each.why.code.value, []).append(each.cvm.ref.address)
    return {"targets": targets, "skipped": skipped}


@given(INVENTORIES, st.data())
def test_a_plan_agrees_with_itself_and_every_change_is_one_difference(cvms: list[Cvm], data: st.DataObject) -> None:
    plan = plan_of(BOOK, cvms)
    expected = expect_of(plan)
    assert list(compare_plan(plan, Expect.model_validate(expected))) == []
    groups = [(key, detail) for key in expected for detail in expected[key]]
    if groups:
        key, detail = data.draw(st.sampled_from(groups))
        removed = data.draw(st.sampled_from(expected[key][detail]))
        expected[key][detail].remove(removed)
        (difference,) = compare_plan(plan, Expect.model_validate(expected))
        assert (difference.key, difference.detail, difference.missing) == (key, detail, ())
        assert len(difference.unexpected) == 1
