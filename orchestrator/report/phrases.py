"""Tables of phrases: outcomes, endings, exit codes, charges, verdicts and narrowings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.action import Action
from orchestrator.audit.fleet_log import RUNS_LEFT
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import AS_WANTED, Ending, Exit, Outcome
from orchestrator.text import plural, safe_text

_WITH_A_RESULT = frozenset({Exit.OK, Exit.FAILED, Exit.UNSETTLED, Exit.ENDED_EARLY})
_ACTIONS = frozenset(Action)


@dataclass(frozen=True, slots=True)
class OutcomePhrase:
    """The phrases of an outcome.

    Attributes:
        meaning: the explanation beside the outcome itself.
        sentence: the end of a CVM, without its subject.
        plural: the end of several CVMs, after `CVMs that`.
    """

    meaning: str
    sentence: str
    plural: str


OUTCOMES: Mapping[Outcome, OutcomePhrase] = {
    Outcome.SETTLED: OutcomePhrase("as wanted, and still so at the end", "settled", "settled"),
    Outcome.GONE: OutcomePhrase("deleted meanwhile", "gone: deleted meanwhile", "were deleted"),
    Outcome.SKIPPED: OutcomePhrase("already as wanted before its turn", "skipped: already as wanted", "were skipped"),
    Outcome.REFUSED: OutcomePhrase("the API refuses the action", "refused by the API", "were refused"),
    Outcome.FAILED: OutcomePhrase("failed for good", "failed", "failed"),
    Outcome.UNSETTLED: OutcomePhrase("did not settle in time", "did not settle in time", "did not settle"),
    Outcome.RESURRECTED: OutcomePhrase(
        "was down, and came up again", "came up again after it was down", "came up again"
    ),
    Outcome.NOT_SENT: OutcomePhrase("nothing was sent", "not sent: the run ended before", "were not sent"),
}

ENDINGS: Mapping[str, str] = {
    Ending.COMPLETED: "every target has an outcome",
    Ending.MAX_FAILURES: "more failures than max_failures allows",
    Ending.STEP_FAILED: "a step with on_failure: stop failed",
    Ending.CANARY_FAILED: "the first wave of a step failed",
    Ending.NOT_APPROVED: "not approved",
    Ending.FROZEN: "a freeze began",
    Ending.KEY_REFUSED: "the API refused the key",
    Ending.LOG_FAILED: "the audit log could not be written",
    Ending.CLOUD_DOWN: "the cloud was down for too long",
    Ending.TIMED_OUT: "the run took too long",
    Ending.SIGINT: "interrupted (Ctrl-C)",
    Ending.SIGTERM: "terminated (SIGTERM)",
    Ending.ABANDONED: "an operator abandoned the run",
    Ending.CANCELLED: "an operator cancelled the run",
    RUNS_LEFT: "some runs did not continue",
}
"""The reasons for the end or the interruption of a run."""

_MEANINGS: Mapping[int, str] = {
    Exit.OK: "succeeded",
    Exit.GUARD: "not approved; no request was sent",
    Exit.CLOUD: "the API was down or refused the key; no request was sent",
    Exit.FAILED: "completed with problems",
    Exit.UNSETTLED: "completed, some CVMs not settled in time",
    Exit.ENDED_EARLY: "ended early",
    Exit.SIGINT: "interrupted (Ctrl-C)",
    Exit.SIGTERM: "terminated (SIGTERM)",
}
"""The meanings of the exit codes of runs."""

CHARGES: Mapping[ChargeState, str] = {
    ChargeState.CHARGED: "charged",
    ChargeState.PENDING: "pending",
    ChargeState.NONE: "not charged",
    ChargeState.UNKNOWN: "of unknown charge",
}
"""After a number of stops."""

VERDICTS: Mapping[Verdict, str] = {
    Verdict.WHOLE: "✓ whole and finished at the time of this report",
    Verdict.UNFINISHED: "whole so far; the run has not finished",
    Verdict.TORN: "whole so far; the last line was cut off",
    Verdict.ALTERED: "✗ ALTERED",
}
"""The results of a check of the hash chain."""


def describe_narrowing(fields: Mapping[str, Any]) -> str:
    """Write the form of `Narrowing.document` as options of a command; other forms, of foreign logs, as text."""
    try:
        only = [f"--only {key}={value}" for key, values in fields["only"].items() for value in values]
        exclude = [f"--exclude {key}={value}" for each in fields["exclude"] for key, value in each.items()]
    except (AttributeError, KeyError, TypeError):
        return str(fields)
    return ", ".join([*only, *exclude])


def describe_approval(fields: Mapping[str, Any]) -> str:
    """Name the signers of a run in the field `approval` of `run.started`; other forms, of foreign logs, as text."""
    try:
        if fields.get("exempt") is True:
            return "exempt from approvals"
        approvers = ", ".join(str(each["key_name"]) for each in fields["approvals"])
        starter = fields.get("starter")
        return approvers if starter is None else f"{approvers}; start signed by {starter['key_name']}"
    except (AttributeError, KeyError, TypeError):
        return str(fields)


def meaning_of(code: int) -> str:
    """Describe the end of a run by its exit code."""
    return _MEANINGS.get(code, "ended")


def describe_end(state: RunState, code: int) -> str:
    """Describe the end of a run with its result: `succeeded: 32 of 32 CVMs stopped`.

    Args:
        state: the replayed state of the run's log.
        code: the exit code.
    """
    targets = [target for target in state.targets.values() if target.taken_up_by is None]
    if not targets or code not in _WITH_A_RESULT:
        return meaning_of(code)
    reached = sum(target.outcome_so_far in AS_WANTED for target in targets)
    actions = {target.action for target in targets}
    (action,) = actions if len(actions) == 1 and actions <= _ACTIONS else (None,)
    result = f"{plural(len(targets), 'target')} as planned"
    if action is not None:
        result = f"{plural(len(targets), 'CVM')} {Action(action).spec.done}"
    return f"{meaning_of(code)}: {reached} of {result}"


def meaning_of_run(state: RunState, *, running: bool) -> str:
    """Describe the state or the end of a run, in the same words for every report.

    Args:
        state: the replayed state of the run's log.
        running: whether a process carries the run out.
    """
    if state.finished is not None:
        return describe_end(state, state.finished.exit_code)
    if running:
        return "running"
    if not state.has_plan:
        return "nothing was sent"
    reason = None if state.interrupted is None else state.interrupted.reason
    return f"not finished: {ENDINGS.get(reason, safe_text(reason, 64))}" if reason else "not finished"


def abandon_command(run_id: str) -> str:
    """Return the command to abandon a run or a fleet run."""
    return f"orchestrator abandon {safe_text(run_id)} --reason TEXT"
