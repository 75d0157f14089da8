"""Reason codes: every member has a sentence, and old records without codes still read."""

import re
from pathlib import Path

import pytest

import orchestrator
from orchestrator.outcome import Reason, SkipReason, code_of, summary_of, with_code

RELEASED = {
    "not selected": SkipReason.NOT_SELECTED,
    "protected by name kms-*": SkipReason.PROTECTED,
    "already stopped": SkipReason.ALREADY_DOWN,
    "already exited": SkipReason.ALREADY_DOWN,
    "already stopped when its turn came": SkipReason.ALREADY_DOWN,
    "already running": SkipReason.ALREADY_UP,
    "already running when its turn came": SkipReason.ALREADY_UP,
    "not running, but stopped": SkipReason.NOT_UP,
    "not down, but starting": SkipReason.NOT_DOWN,
    "has neither hashid nor UUID yet, so it can't be addressed": SkipReason.NO_ADDRESS,
    "kept running: 1 of 3 of app a1 stays up": SkipReason.KEPT_RUNNING,
    "drifted: name was a, is b": SkipReason.DRIFTED,
    "drifted: now protected by name kms-*": SkipReason.DRIFTED,
    "drifted: no longer in the list": SkipReason.GONE,
    "not a target of the plan file": SkipReason.NOT_IN_PLAN_FILE,
    "not taken down by that run": SkipReason.NOT_IN_RUN,
    "the run ended early: more targets failed than max_failures allows": SkipReason.MAX_FAILURES,
    "the run ended early: a step with `on_failure: stop` did not end as wanted": SkipReason.STEP_FAILED,
    "the run ended early: a CVM of the first wave, the canary, did not end as wanted": SkipReason.CANARY_FAILED,
    "the run ended early: a question was not answered with yes": SkipReason.NOT_APPROVED,
}
"""Sentences that version 0.1 wrote. They never change: logs with them stay readable."""


@pytest.mark.parametrize(("sentence", "code"), RELEASED.items())
def test_a_record_without_a_code_has_that_of_its_released_sentence(sentence: str, code: SkipReason) -> None:
    assert code_of({"reason": sentence}) is code
    assert with_code({"reason": sentence}) == {"reason": sentence, "code": code}


@pytest.mark.parametrize("code", SkipReason)
def test_every_code_has_a_sentence_with_its_detail_and_reads_back(code: SkipReason) -> None:
    reason = Reason(code, "detail of {braces}")
    assert reason.text
    assert "{}" not in reason.text
    assert code_of(reason.fields()) is code
    assert summary_of(reason.fields()) == reason.summary


@pytest.mark.parametrize(
    "entry", [{}, {"reason": None}, {"reason": 7}, {"reason": "x"}, {"code": "of_next_year"}, {"code": []}]
)
def test_of_what_is_not_known_there_is_no_code_and_no_error(entry: dict[str, object]) -> None:
    assert code_of(entry) is None
    assert summary_of(entry) == str(entry.get("reason") or "no reason given")


def test_a_code_of_a_later_version_is_handed_on_as_it_is() -> None:
    assert with_code({"code": "of_next_year"}) == {"code": "of_next_year"}


def test_no_other_module_tells_reasons_apart_by_their_text() -> None:
    by_text = re.compile(r"(reason|hint)\b[^\n]{0,40}\.(startswith|endswith)\(|\.reason [!=]= ")
    sources = Path(orchestrator.__file__).parent.rglob("*.py")
    found = {source.name for source in sources if by_text.search(source.read_text(encoding="utf-8"))}
    assert found <= {"toml.py"}, "tomllib has no codes for its faults; this project has"


def test_the_code_goes_before_the_sentence() -> None:
    assert code_of({"reason": "not selected", "code": "protected"}) is SkipReason.PROTECTED
