"""The meaning of exit codes and outcomes, in words for people."""

from collections.abc import Mapping

from orchestrator.audit.replay import RunState
from orchestrator.outcome import Ending, Exit
from orchestrator.safe_text import safe_text

_MEANING: dict[int, str] = {
    Exit.OK: "all as wanted",
    Exit.FAILED: "finished; some failed or were refused",
    Exit.UNSETTLED: "finished; some did not settle in time",
    Exit.ENDED_EARLY: "ended early",
    Exit.CLOUD: "the cloud refused; nothing was changed",
    Exit.SIGINT: "interrupted",
    Exit.SIGTERM: "terminated",
}


def meaning_of(code: int) -> str:
    """Describe the end of a run by its exit code."""
    return _MEANING.get(code, "ended")


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
        return meaning_of(state.finished.exit_code)
    if running:
        return "running"
    if not state.has_plan:
        return "nothing was sent"
    reason = None if state.interrupted is None else state.interrupted.reason
    return f"not finished: {ENDINGS.get(reason, safe_text(reason, 64))}" if reason else "not finished"
