"""The phrases of exit codes and endings, and the end of a run in a line."""

from collections.abc import Mapping

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.outcome import AS_WANTED, Ending, Exit
from orchestrator.text import plural, safe_text

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

_WITH_A_RESULT = frozenset({Exit.OK, Exit.FAILED, Exit.UNSETTLED, Exit.ENDED_EARLY})
_ACTIONS = frozenset(Action)


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


ENDINGS: Mapping[str, str] = {
    Ending.COMPLETED: "every target has an outcome",
    Ending.MAX_FAILURES: "more failures than max_failures allows",
    Ending.STEP_FAILED: "a step with on_failure: stop failed",
    Ending.CANARY_FAILED: "the first wave of a step failed",
    Ending.NOT_APPROVED: "not approved",
    Ending.KEY_REFUSED: "the API refused the key",
    Ending.LOG_FAILED: "the audit log could not be written",
    Ending.CLOUD_DOWN: "the cloud was down for too long",
    Ending.TIMED_OUT: "the run took too long",
    Ending.SIGINT: "interrupted (Ctrl-C)",
    Ending.SIGTERM: "terminated (SIGTERM)",
    Ending.ABANDONED: "an operator abandoned the run",
}
"""The reasons for the end or the interruption of a run."""


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
