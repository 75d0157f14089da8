"""Why a CVM is left alone: a code for programs, and a sentence for people. Old records without codes still read."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class SkipReason(StrEnum):
    """Why a CVM of the inventory is not acted on, or why a target's request was not sent."""

    NOT_SELECTED = "not_selected"
    """No step selects the CVM."""
    PROTECTED = "protected"
    """A `protect` guard names the CVM."""
    ALREADY_DOWN = "already_down"
    """The CVM is stopped or exited already."""
    ALREADY_UP = "already_up"
    """The CVM is running already."""
    NOT_UP = "not_up"
    """The CVM is not running, so that it can't be restarted."""
    NOT_DOWN = "not_down"
    """The CVM is not down, so that it can't be started."""
    NO_ADDRESS = "no_address"
    """The CVM has neither hashid nor UUID yet, so that no request can name it."""
    FACT_UNKNOWN = "fact_unknown"
    """The CVM's app, teepod or name is not known, and a `protect`, an `exclude` or a select needs that fact."""
    KEPT_RUNNING = "kept_running"
    """A rule of `keep_running` spares the CVM."""
    DRIFTED = "drifted"
    """The CVM has changed since the plan was made, or since the run to undo ended."""
    GONE = "gone"
    """The CVM of a plan, or of a run to undo, is no longer in the list."""
    NOT_IN_PLAN_FILE = "not_in_plan_file"
    """The playbook selects the CVM now, but the plan file does not have it as a target."""
    NOT_IN_RUN = "not_in_run"
    """The run to undo did not take the CVM down."""
    MAX_FAILURES = "max_failures"
    """The run ended early: more targets failed than `max_failures` allows."""
    STEP_FAILED = "step_failed"
    """The run ended early: a target of a step with `on_failure: stop` did not end as wanted."""
    CANARY_FAILED = "canary_failed"
    """The run ended early: a CVM of a first wave did not end as wanted."""
    NOT_APPROVED = "not_approved"
    """The run ended early: a question was not answered with yes."""
    ABANDONED = "abandoned"
    """A person abandoned the run before its request was sent."""


CHANGED = frozenset({SkipReason.DRIFTED, SkipReason.GONE})
"""The CVM is not any more what a plan file or a run's log says."""

MAY_BE_PROTECTED = frozenset({"protect", "exclude"})
"""What needs a fact so that a CVM of which the fact is not known is left alone, although a step selects it."""

ALREADY = frozenset({SkipReason.ALREADY_DOWN, SkipReason.ALREADY_UP})
"""The CVM is as the action would leave it."""

OUT_OF_SCOPE = frozenset({SkipReason.NOT_SELECTED, SkipReason.NOT_IN_RUN})
"""Nothing was to be done with the CVM in the first place."""

_SENTENCES: Mapping[SkipReason, str] = {
    SkipReason.NOT_SELECTED: "not selected",
    SkipReason.PROTECTED: "protected by {}",
    SkipReason.ALREADY_DOWN: "already {}",
    SkipReason.ALREADY_UP: "already {}",
    SkipReason.NOT_UP: "not running, but {}",
    SkipReason.NOT_DOWN: "not down, but {}",
    SkipReason.NO_ADDRESS: "has neither hashid nor UUID yet, so it can't be addressed",
    SkipReason.FACT_UNKNOWN: "its {} is not known, and `{}` needs that fact",
    SkipReason.KEPT_RUNNING: "kept running: {}",
    SkipReason.DRIFTED: "drifted: {}",
    SkipReason.GONE: "drifted: no longer in the list",
    SkipReason.NOT_IN_PLAN_FILE: "not a target of the plan file",
    SkipReason.NOT_IN_RUN: "not taken down by that run",
    SkipReason.MAX_FAILURES: "the run ended early: more targets failed than max_failures allows",
    SkipReason.STEP_FAILED: "the run ended early: a step with `on_failure: stop` did not end as wanted",
    SkipReason.CANARY_FAILED: "the run ended early: a CVM of the first wave, the canary, did not end as wanted",
    SkipReason.NOT_APPROVED: "the run ended early: a question was not answered with yes",
    SkipReason.ABANDONED: "the run was abandoned before its request was sent",
}
"""The sentence of each code, with a place for the detail, and one for what needs an unknown fact."""

_SUMMARIES: Mapping[SkipReason, str] = {
    SkipReason.KEPT_RUNNING: "kept running",
    SkipReason.DRIFTED: "drifted",
}
"""The sentence without its detail, of the codes whose detail differs from CVM to CVM."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, and what is peculiar to one CVM.

    Attributes:
        code: the code.
        detail: such as the pattern that protects the CVM; empty where the code says all.
        needed_by: what needs a fact that is not known: `protect`, `exclude` or `select`.
    """

    code: SkipReason
    detail: str = ""
    needed_by: str = ""

    @property
    def text(self) -> str:
        """The sentence for people."""
        return _SENTENCES[self.code].format(self.detail, self.needed_by)

    @property
    def in_full(self) -> str:
        """The sentence, with the first key of each select that a CVM does not meet."""
        is_about_a_key = self.code is SkipReason.NOT_SELECTED and bool(self.detail)
        return f"{self.text}: {self.detail}" if is_about_a_key else self.text

    @property
    def summary(self) -> str:
        """The sentence, without what differs from CVM to CVM."""
        return _SUMMARIES.get(self.code, self.text)

    def fields(self) -> dict[str, str]:
        """As records and documents have it."""
        needed_by = {"needed_by": self.needed_by} if self.needed_by else {}
        return {"reason": self.text, "code": self.code.value, **needed_by}


_RELEASED: tuple[tuple[str, SkipReason], ...] = (
    ("not selected", SkipReason.NOT_SELECTED),
    ("protected by ", SkipReason.PROTECTED),
    ("already stopped", SkipReason.ALREADY_DOWN),
    ("already exited", SkipReason.ALREADY_DOWN),
    ("already ", SkipReason.ALREADY_UP),
    ("not running, but ", SkipReason.NOT_UP),
    ("not down, but ", SkipReason.NOT_DOWN),
    ("has neither hashid nor UUID", SkipReason.NO_ADDRESS),
    ("kept running: ", SkipReason.KEPT_RUNNING),
    ("drifted: no longer in the list", SkipReason.GONE),
    ("drifted: ", SkipReason.DRIFTED),
    ("not a target of the plan file", SkipReason.NOT_IN_PLAN_FILE),
    ("not taken down by that run", SkipReason.NOT_IN_RUN),
    ("the run ended early: more targets failed", SkipReason.MAX_FAILURES),
    ("the run ended early: a step with", SkipReason.STEP_FAILED),
    ("the run ended early: a CVM of the first wave", SkipReason.CANARY_FAILED),
    ("the run ended early: a question", SkipReason.NOT_APPROVED),
)
"""How the sentences of records without codes begin, the longer of two beginnings first. Version 0.1 wrote these."""


def code_of(entry: Mapping[str, Any]) -> SkipReason | None:
    """The code of a record or of an entry of `skipped`, derived from its sentence where an old one has no code.

    None where it has neither, or where a later version wrote a code that this one does not know.
    """
    code = entry.get("code")
    if code is not None:
        return SkipReason(code) if code in _CODES else None
    sentence = str(entry.get("reason") or "")
    return next((found for beginning, found in _RELEASED if sentence.startswith(beginning)), None)


_CODES = frozenset(SkipReason)


def may_be_protected(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of `skipped` is a CVM that a step selects, left alone since a fact is not known."""
    return code_of(entry) is SkipReason.FACT_UNKNOWN and entry.get("needed_by") in MAY_BE_PROTECTED


def summary_of(entry: Mapping[str, Any]) -> str:
    """The sentence of a record or of an entry of `skipped`, without what differs from CVM to CVM."""
    code = code_of(entry)
    summary = None if code is None else _SUMMARIES.get(code)
    return summary or str(entry.get("reason") or "no reason given")


def with_code(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `skipped` with its code; null where there is none."""
    return {**entry, "code": entry["code"] if "code" in entry else code_of(entry)}
