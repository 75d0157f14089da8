"""The check of a plan before a run: no match, a guard, drift."""

from decimal import Decimal

import pytest

from orchestrator.errors import DriftedError, GuardError, NoMatchError, OrchestratorError
from orchestrator.playbook.plan import Plan
from orchestrator.runs.prepare import find_refusal
from tests.report.runs import cvm, plan


def test_a_plan_with_targets_within_its_guards_is_not_refused() -> None:
    assert find_refusal(plan([cvm(1, "web-1")], max_percent=100)) is None


@pytest.mark.parametrize(
    ("made", "kind", "says"),
    [
        (plan([], max_percent=100), NoMatchError, "the selectors matched no CVM"),
        (plan([cvm(1, "web-1"), cvm(2, "web-2")], max_percent=Decimal(10)), GuardError, "max_percent"),
    ],
    ids=["no match", "guard"],
)
def test_a_plan_without_a_match_or_beyond_a_guard_is_refused(
    made: Plan, kind: type[OrchestratorError], says: str
) -> None:
    refusal = find_refusal(made)
    assert isinstance(refusal, kind)
    assert not isinstance(refusal, DriftedError)
    assert says in str(refusal)
