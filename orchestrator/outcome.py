"""Outcomes of targets, endings of runs, exit codes, and the reasons for skipped CVMs: four contracts.

A reason is a code for programs, and a sentence for people. Old records without codes stay readable.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

from orchestrator.value_class import value_class


class Outcome(StrEnum):
    """Outcomes of a target."""

    SETTLED = "settled"
    """Down (or running, by the action), with nothing in progress, and still so at the end of the run."""
    REFUSED = "refused"
    """The API refuses the action (403, such as a GPU rental)."""
    FAILED = "failed"
    """The action failed for good, or the CVM turned to `error`, or went back to what it was before."""
    UNSETTLED = "unsettled"
    """Did not go down (or come up) within the settle timeout, counted from its own acceptance."""
    GONE = "gone"
    """Deleted meanwhile; nothing is left to stop. A CVM to be started that was deleted has failed."""
    RESURRECTED = "resurrected"
    """Was seen down, and later up again."""
    NOT_SENT = "not_sent"
    """The run ended before its request was sent, or the CVM changed or became protected before `resume`."""
    SKIPPED = "skipped"
    """Turned out to be as wanted already when its turn came; nothing was sent, nothing is billed."""


class Exit(IntEnum):
    """The exit codes of every command. 2 to 5 mean that nothing was changed."""

    OK = 0
    BUG = 1
    USAGE = 2
    GUARD = 3
    NO_MATCH = 4
    CLOUD = 5
    FAILED = 6
    UNSETTLED = 7
    ENDED_EARLY = 8
    SIGINT = 130
    SIGTERM = 143


class Ending(StrEnum):
    """Reasons for the end of a run."""

    COMPLETED = "completed"
    MAX_FAILURES = "max_failures"
    STEP_FAILED = "step_failed"
    CANARY_FAILED = "canary_failed"
    NOT_APPROVED = "not_approved"
    FROZEN = "frozen"
    KEY_REFUSED = "key_refused"
    LOG_FAILED = "log_failed"
    CLOUD_DOWN = "cloud_down"
    TIMED_OUT = "timed_out"
    SIGINT = "sigint"
    SIGTERM = "sigterm"
    ABANDONED = "abandoned"
    CANCELLED = "cancelled"

    @property
    def resumable(self) -> bool:
        """Whether `resume` can continue the run: the reason for its end is outside the run's own plan."""
        return self not in {Ending.COMPLETED, Ending.ABANDONED, Ending.CANCELLED, *OF_ITS_OWN_MAKING}


OF_ITS_OWN_MAKING = frozenset(
    {Ending.MAX_FAILURES, Ending.STEP_FAILED, Ending.CANARY_FAILED, Ending.NOT_APPROVED, Ending.FROZEN}
)
"""Early endings required by the playbook; the rest stays unsent for good."""

_EARLY = frozenset(
    {
        *OF_ITS_OWN_MAKING,
        *(
            Ending.KEY_REFUSED,
            Ending.LOG_FAILED,
            Ending.CLOUD_DOWN,
            Ending.TIMED_OUT,
            Ending.ABANDONED,
            Ending.CANCELLED,
        ),
    }
)
_FAILED = frozenset({Outcome.REFUSED, Outcome.FAILED, Outcome.RESURRECTED})

COUNTS_AS_FAILURE = _FAILED
"""The outcomes counted by `max_failures`."""

ENDS_THE_RUN = _FAILED | {Outcome.UNSETTLED}
"""Outcomes of a target that end the run after a step with `on_failure: stop`, and after a canary."""


def exit_code(ending: Ending, counts: Mapping[Outcome, int], *, anything_sent: bool, left_alone: bool = False) -> Exit:
    """Return the exit code of a run with this ending and these outcomes.

    Args:
        ending: the reason for the run's end.
        counts: the number of targets of each outcome.
        anything_sent: whether a request that can change something was ever announced.
        left_alone: whether a selected CVM was skipped because of an unknown fact.

    If several codes apply, the order is: interruption, early end, failures, time-outs. A refused key before the first
    request changed nothing, so the code is 5.
    """
    if ending is Ending.SIGINT:
        return Exit.SIGINT
    if ending is Ending.SIGTERM:
        return Exit.SIGTERM
    if ending in {Ending.KEY_REFUSED, Ending.CLOUD_DOWN} and not anything_sent:
        return Exit.CLOUD
    if ending in {Ending.NOT_APPROVED, Ending.FROZEN} and not anything_sent:
        return Exit.GUARD
    if ending in _EARLY:
        return Exit.ENDED_EARLY
    if left_alone or any(counts.get(outcome) for outcome in (*_FAILED, Outcome.NOT_SENT)):
        return Exit.FAILED
    if counts.get(Outcome.UNSETTLED):
        return Exit.UNSETTLED
    return Exit.OK


AS_WANTED = frozenset({Outcome.SETTLED, Outcome.GONE, Outcome.SKIPPED})
"""The outcomes of targets in the state wanted by their step."""

TROUBLE = frozenset(Outcome) - AS_WANTED - {Outcome.NOT_SENT}
"""The outcomes of targets with a problem."""


class SkipReason(StrEnum):
    """Reasons why a CVM is skipped, or why a target's request was not sent."""

    NOT_SELECTED = "not_selected"
    """No step selects the CVM."""
    PROTECTED = "protected"
    """A `protect` guard names the CVM."""
    KEPT = "kept"
    """An exemption keeps the CVM up until a time."""
    ALREADY_DOWN = "already_down"
    """The CVM is stopped or exited already."""
    ALREADY_UP = "already_up"
    """The CVM is running already."""
    NOT_UP = "not_up"
    """The CVM is not running, so it can't be restarted."""
    NOT_DOWN = "not_down"
    """The CVM is not down, so it can't be started."""
    EXCLUDED_BY_OPTION = "excluded_by_option"
    """`--only` or `--exclude` leaves the CVM out; the sentence for `--only` is `not in --only …`."""
    NO_ADDRESS = "no_address"
    """The CVM has neither hashid nor UUID yet, so no request can name the CVM."""
    FACT_UNKNOWN = "fact_unknown"
    """A fact of the CVM is unknown, such as its app, and a `protect`, an `exclude` or a select needs that fact."""
    KEPT_RUNNING = "kept_running"
    """A rule of `keep_running` keeps the CVM up."""
    DRIFTED = "drifted"
    """The CVM has changed since the plan was made, or since the run to undo ended."""
    GONE = "gone"
    """The CVM of a plan, or of a run to undo, is no longer in the list."""
    NOT_IN_PLAN_FILE = "not_in_plan_file"
    """The playbook selects the CVM now, but the CVM is no target of the plan file."""
    NOT_IN_RUN = "not_in_run"
    """The run to undo did not take the CVM down."""
    NOT_OWED = "not_owed"
    """The playbook of the wake did not stop the CVM."""
    GPU = "gpu"
    """The CVM has GPUs, and `wake.include_gpus` of the playbook is not true."""
    MAX_FAILURES = "max_failures"
    """The run ended early: more targets failed than `max_failures` allows."""
    STEP_FAILED = "step_failed"
    """The run ended early: a target of a step with `on_failure: stop` did not end as wanted."""
    CANARY_FAILED = "canary_failed"
    """The run ended early: a CVM of a first wave did not end as wanted."""
    NOT_APPROVED = "not_approved"
    """The run ended early: a question was not answered with yes."""
    FROZEN = "frozen"
    """The run ended early: a freeze began before its request was sent."""
    ABANDONED = "abandoned"
    """A person abandoned the run before its request was sent."""
    CANCELLED = "cancelled"
    """A person cancelled the run before its request was sent."""


CHANGED = frozenset({SkipReason.DRIFTED, SkipReason.GONE})
"""The CVM differs from the plan file or from the run's log."""

MAY_BE_PROTECTED = frozenset({"protect", "exclude"})
"""Users of a fact: if the fact of a selected CVM is unknown, the CVM is skipped."""

ALREADY = frozenset({SkipReason.ALREADY_DOWN, SkipReason.ALREADY_UP})
"""The CVM is already as the action would leave the CVM."""

OUT_OF_SCOPE = frozenset({SkipReason.NOT_SELECTED, SkipReason.NOT_IN_RUN, SkipReason.NOT_OWED})
"""The CVM was never meant to be a target."""

_SENTENCES: Mapping[SkipReason, str] = {
    SkipReason.NOT_SELECTED: "not selected",
    SkipReason.PROTECTED: "protected by {}",
    SkipReason.KEPT: "kept until {}",
    SkipReason.ALREADY_DOWN: "already {}",
    SkipReason.ALREADY_UP: "already {}",
    SkipReason.NOT_UP: "not running, but {}",
    SkipReason.NOT_DOWN: "not down, but {}",
    SkipReason.EXCLUDED_BY_OPTION: "excluded by {}",
    SkipReason.NO_ADDRESS: "has neither hashid nor UUID yet, so it can't be addressed",
    SkipReason.FACT_UNKNOWN: "its {} is not known, and `{}` needs that fact",
    SkipReason.KEPT_RUNNING: "kept running: {}",
    SkipReason.DRIFTED: "changed: {}",
    SkipReason.GONE: "no longer in the list",
    SkipReason.NOT_IN_PLAN_FILE: "not a target of the plan file",
    SkipReason.NOT_IN_RUN: "not stopped by the run to restore",
    SkipReason.NOT_OWED: "not stopped by the playbook to wake",
    SkipReason.GPU: "has GPUs, and `wake.include_gpus` is not true",
    SkipReason.MAX_FAILURES: "the run ended early: more targets failed than max_failures allows",
    SkipReason.STEP_FAILED: "the run ended early: a step with `on_failure: stop` did not end as wanted",
    SkipReason.CANARY_FAILED: "the run ended early: a CVM of the first wave, the canary, did not end as wanted",
    SkipReason.NOT_APPROVED: "the run ended early: a question was not answered with yes",
    SkipReason.FROZEN: "the run ended early: {}",
    SkipReason.ABANDONED: "the run was abandoned before its request was sent",
    SkipReason.CANCELLED: "the run was cancelled before its request was sent",
}
"""The sentence of each code, with placeholders for the detail and for the user of an unknown fact."""

_FACTS: Mapping[str, str] = {
    "instance_type": "instance type",
    "gpus": "number of GPUs",
    "usd_per_hour": "price",
    "older_than": "age",
    "created_before": "age",
    "up_longer_than": "uptime",
}
"""The facts behind keys of a select, where the key has another name."""

_NEEDED_BY_SELECT = ", and `select` needs that fact"

_SUMMARIES: Mapping[SkipReason, str] = {
    SkipReason.KEPT_RUNNING: "kept running",
    SkipReason.DRIFTED: "changed",
}
"""The sentence without its detail, for codes whose detail differs between CVMs."""


@value_class(frozen=True, slots=True)
class Reason:
    """A code with the detail of a CVM.

    Attributes:
        code: the code.
        detail: for example the pattern that protects the CVM; empty if the code is enough.
        needed_by: the user of an unknown fact: `protect`, `exclude`, `--only` or `select`.
    """

    code: SkipReason
    detail: str = ""
    needed_by: str = ""

    @property
    def text(self) -> str:
        """The sentence for people."""
        detail = _FACTS.get(self.detail, self.detail) if self.code is SkipReason.FACT_UNKNOWN else self.detail
        if self.code is SkipReason.EXCLUDED_BY_OPTION and detail.startswith("--only"):
            return f"not in {detail}"
        return _SENTENCES[self.code].format(detail, self.needed_by)

    @property
    def in_full(self) -> str:
        """The sentence, with the first unmet key of each select."""
        is_about_a_key = self.code is SkipReason.NOT_SELECTED and bool(self.detail)
        return f"{self.text}: {self.detail}" if is_about_a_key else self.text

    @property
    def summary(self) -> str:
        """The sentence, without the details of single CVMs."""
        if self.needed_by == "select":
            return f"not matched: {self.text.removesuffix(_NEEDED_BY_SELECT)}"
        return _SUMMARIES.get(self.code, self.text)

    def fields(self) -> dict[str, str]:
        """Return the fields of records and documents."""
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
"""Beginnings of sentences in records without codes (version 0.1); the longer of two beginnings is first."""


def code_of(entry: Mapping[str, Any]) -> SkipReason | None:
    """Return the code of a record or of an entry of `skipped`; an old entry's code comes from its sentence.

    None without code and sentence, or for a code of a later version.
    """
    code = entry.get("code")
    if code is not None:
        return SkipReason(str(code)) if str(code) in _CODES else None
    sentence = str(entry.get("reason") or "")
    return next((found for beginning, found in _RELEASED if sentence.startswith(beginning)), None)


_CODES = frozenset(SkipReason)


def may_be_protected(entry: Mapping[str, Any]) -> bool:
    """Return True if an entry of `skipped` is a selected CVM skipped because of an unknown fact."""
    return code_of(entry) is SkipReason.FACT_UNKNOWN and entry.get("needed_by") in MAY_BE_PROTECTED


def summary_of(entry: Mapping[str, Any]) -> str:
    """Return the sentence of a record or of an entry of `skipped`, without the details of single CVMs."""
    code = code_of(entry)
    summary = None if code is None else _SUMMARIES.get(code)
    return summary or str(entry.get("reason") or "no reason given")


def with_code(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of `skipped` with its code; null without a code."""
    return {**entry, "code": entry["code"] if "code" in entry else code_of(entry)}
