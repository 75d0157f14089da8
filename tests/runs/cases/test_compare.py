"""The differences between a plan and its expectations: exact, and explained."""

from pathlib import Path

import pytest

from orchestrator.runs.cases.compare import Difference
from tests.runs.cases.files import CVMS, check, one_case

TWINS = "[{name: dev, id: cvm_a}, {name: dev, id: cvm_b}]"


def differences(folder: Path, expect: str, inventory: str = CVMS, more: str = "") -> list[Difference]:
    (result,) = check(folder, one_case(expect, more, inventory))
    return list(result.differences)


@pytest.mark.parametrize(
    "expect",
    [
        "{targets: {stop: [dev-2, dev-1], web: web-1}}",
        "{targets: {stop: [cvm_case_1, dev-2], web: [cvm_case_3]}}",
        "{skipped: {not_selected: kms-1, protected: []}}",
        "{guards: {max_targets: refused, protect: ok}}",
        "{warnings: []}",
        "{exit_code: 3}",
        "{firings: {from: 2026-12-23, to: 2026-12-25, at: 2026-12-23T18:30Z}}",
    ],
)
def test_a_plan_as_expected_has_no_difference(tmp_path: Path, expect: str) -> None:
    assert differences(tmp_path, expect) == []


def test_missing_and_unexpected_targets_are_named_step_by_step(tmp_path: Path) -> None:
    first, second = differences(tmp_path, "{targets: {stop: [dev-1, dev-3, kms-1, web-1]}}")
    assert (first.key, first.detail, first.actual) == ("targets", "stop", ["dev-1", "dev-2"])
    assert first.missing == (
        ("dev-3", "not in the inventory; did you mean 'dev-2'?"),
        ("kms-1", "skipped: not selected (not_selected)"),
        ("web-1", "target of step 'web'"),
    )
    assert [entry for entry, _ in first.unexpected] == ["dev-2"]
    assert (second.detail, second.expected, second.unexpected) == ("web", [], (("web-1", ""),))


def test_every_entry_stands_for_a_single_cvm_also_if_names_are_shared(tmp_path: Path) -> None:
    assert differences(tmp_path, "{targets: {stop: [dev, dev]}}", TWINS, "    vars: {pattern: dev}\n") == []
    assert differences(tmp_path, "{targets: {stop: [dev, cvm_a]}}", TWINS, "    vars: {pattern: dev}\n") == []
    (one,) = differences(tmp_path, "{targets: {stop: [dev]}}", TWINS, "    vars: {pattern: dev}\n")
    assert one.unexpected == (("dev (cvm_b)", ""),)
    (three,) = differences(tmp_path, "{targets: {stop: [dev, dev, dev]}}", TWINS, "    vars: {pattern: dev}\n")
    assert three.missing == (("dev", "expected more than once; 2 of this name"),)


def test_guards_exit_codes_and_warnings_say_why(tmp_path: Path) -> None:
    expect = "{guards: {max_targets: ok, keep_running: ok}, warnings: [deadline], exit_code: 0}"
    cvms = "[{name: dev-1}, {name: dev-2}, {name: dev-3}]"
    reached, unused, warning, code = differences(tmp_path, expect, cvms)
    assert (reached.detail, reached.actual) == ("max_targets", "refused")
    assert reached.message == "expected ok, but refused: 3 targets, at most 2 allowed"
    assert (unused.actual, unused.message) == (None, "expected ok, but unused: the guard has no limit")
    assert (warning.missing, [code for code, _ in warning.unexpected]) == (
        (("deadline", ""),),
        ["selector_unmatched", "protect_unmatched", "step_empty"],
    )
    assert code.message.startswith("expected 0, but 3: refused by a guard: max_targets")


def test_firings_are_exact_and_omissions_explained(tmp_path: Path) -> None:
    (found,) = differences(tmp_path, "{firings: {from: 2026-12-22, to: 2026-12-25, at: 2026-12-24T18:30Z}}")
    assert found.missing == (("2026-12-24T18:30:00Z", "excluded by `not_on`: 2026-12-24..2027-01-01"),)
    assert [entry for entry, _ in found.unexpected] == ["2026-12-22T18:30:00Z", "2026-12-23T18:30:00Z"]
