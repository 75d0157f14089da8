"""The meaning of exit codes and outcomes, in words for people."""

from orchestrator.audit.replay import RunState
from orchestrator.outcome import Exit
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


ENDINGS = {
    "completed": "every target has an outcome",
    "max_failures": "more targets failed than max_failures allows",
    "step_failed": "a step with on_failure: stop did not end as wanted",
    "canary_failed": "the first wave of a step did not end as wanted",
    "not_approved": "a question was not answered with yes",
    "key_refused": "the API refused the key",
    "log_failed": "the audit log could not be written",
    "cloud_down": "the cloud was down for too long",
    "timed_out": "the run took too long",
    "sigint": "interrupted by Ctrl-C",
    "sigterm": "terminated",
    "abandoned": "a person abandoned the run",
}
"""Why a run ended, or was interrupted."""


def meaning_of_run(state: RunState, *, running: bool) -> str:
    """Describe the state or the end of a run, in the same words for every report.

    Args:
        state: the replayed state of the run's log.
        running: whether a process carries the run out.
    """
    if state.finished is not None:
        return meaning_of(state.finished.exit_code)
    if running:
        return "going on"
    if not state.has_plan:
        return "nothing was sent"
    reason = None if state.interrupted is None else state.interrupted.reason
    return f"not finished: {ENDINGS.get(reason, safe_text(reason, 64))}" if reason else "not finished"
