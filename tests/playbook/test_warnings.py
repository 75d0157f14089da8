"""The warnings of a plan, by code."""

import pytest

from orchestrator.playbook.plan_warning import PlanWarning, WarningCode, warning_document
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.undo import Undo
from tests.playbook.fleet import cvm
from tests.playbook.loading import playbook
from tests.playbook.plans import plan_of

FLEET = [cvm(n, f"web-{n}", app="a1", pod=1) for n in range(1, 9)]


def of(code: WarningCode, *selects: dict[str, object], guards: dict[str, object] | None = None) -> list[str]:
    warnings = plan_of(playbook(*selects, guards=guards or {}), FLEET).warnings
    return [each.message for each in warnings if each.code is code]


@pytest.mark.parametrize(
    ("protect", "named"),
    [({"name": ["web-*", "wbe-1"]}, "'wbe-1'"), ({"app_id": "b2"}, "'b2'"), ({"teepod": ["1", "prod-2"]}, "'prod-2'")],
)
def test_an_unmatched_protect_value_is_a_warning(protect: dict[str, object], named: str) -> None:
    (warning,) = of(WarningCode.PROTECT_UNMATCHED, {"name": "web-1"}, guards={"protect": protect})
    assert warning.startswith("protect: no ")
    assert f"{named}; " in warning
    assert "known" in warning


def test_without_the_whole_workspace_protections_are_no_warning() -> None:
    book = playbook({"app_id": "a1"}, guards={"protect": {"name": "kms-*"}})
    assert plan_of(book, FLEET, whole=False).warnings == ()


def test_a_step_without_targets_is_a_warning() -> None:
    selects: list[dict[str, object]] = [{"name": "web-1"}, {"name": "web-*", "teepod": "prod-9"}, {"name": "web-1"}]
    assert of(WarningCode.STEP_EMPTY, *selects) == [
        "step 'step 2' has no target: no CVM selected",
        "step 'step 3' has no target: all selected CVMs belong to earlier steps",
    ]
    guards: dict[str, object] = {"protect": {"name": "web-2"}}
    (warning,) = of(WarningCode.STEP_EMPTY, {"name": "web-1"}, {"name": "web-2"}, guards=guards)
    assert warning == "step 'step 2' has no target: 1 CVM selected, all skipped"


def test_a_plan_of_every_cvm_without_a_guard_is_a_warning() -> None:
    assert of(WarningCode.NO_GUARDS, {"all": "true"})
    assert not of(WarningCode.NO_GUARDS, {"name": "*"})
    some: list[dict[str, object]] = [{"max_targets": 9}, {"max_percent": 100}, {"protect": {"name": "x"}}]
    for guard in some:
        assert not of(WarningCode.NO_GUARDS, {"all": "true"}, guards=guard)


def test_an_undo_needs_no_guard() -> None:
    undo = Undo("a run", ())
    plan = plan_of(undo.playbook, FLEET, guards=Guards(), target_filter=undo.filter_target)
    assert WarningCode.NO_GUARDS not in {each.code for each in plan.warnings}


def test_cvms_with_unknown_facts_are_a_warning() -> None:
    book = playbook({"all": "true"}, guards={"protect": {"app_id": "a1"}})
    (warning,) = (
        each.message for each in plan_of(book, [cvm(1, app=None), cvm(2)]).warnings if each.code == "fact_unknown"
    )
    assert "1 selected CVM skipped (dev-1)" in warning
    assert "exit code 6" in warning


def test_the_warnings_of_old_logs_are_sentences_without_codes() -> None:
    assert warning_document("it shifted") == {"code": None, "message": "it shifted"}
    written = PlanWarning(WarningCode.DEADLINE, "too late").document()
    assert warning_document(written) == written == {"code": "deadline", "message": "too late"}


def test_the_warning_of_an_unknown_fact_shows_the_id_of_a_cvm_without_a_name() -> None:
    nameless = cvm(1, "", app="a1", pod=1)
    found = plan_of(playbook({"teepod": "prod-1"}, guards={"protect": {"name": "kms-*"}}), [nameless]).warnings
    (message,) = [each.message for each in found if each.code is WarningCode.FACT_UNKNOWN]
    assert f"({nameless.ref.address})" in message
