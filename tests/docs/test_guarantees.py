"""What the docs say of tests is so: each promise names where it is shown, and that is there."""

import re

from tests.chaos import test_chaos
from tests.crash import test_crash
from tests.docs.pages import ROOT

TEXT = (ROOT / "docs/explanation/guarantees.md").read_text(encoding="utf-8")


def test_every_promise_says_where_it_is_shown() -> None:
    """Each row that promises something in bold names a test file, or one of the two suites, in its last column."""
    promised = TEXT.split("## When the machine fails")[0]
    rows = [line for line in promised.splitlines() if line.startswith("| **")]
    assert len(rows) > 20
    for row in rows:
        shown = re.split(r"(?<!\\)\|", row)[-2]
        assert "](../../tests/" in shown or "chaos" in shown or "crash" in shown, row


def test_the_long_suites_have_as_many_runs_as_the_docs_say() -> None:
    """The numbers in CONTRIBUTING are those of the suites' parameters."""
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    runs = _runs(test_chaos.test_each_fault_alone) + _runs(test_chaos.test_all_faults_together_over_many_seeds)
    assert f"{runs} more runs" in contributing
    assert f"{_runs(test_crash.test_two_hundred_more_moments)} more seeds" in contributing


def _runs(test: object) -> int:
    """How often pytest runs a test that is parametrized."""
    product = 1
    for mark in test.pytestmark:  # type: ignore[attr-defined] # pytest puts it there
        product *= len(mark.args[1]) if mark.name == "parametrize" else 1
    return product
