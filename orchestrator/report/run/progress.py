"""The progress of a run in words and figures, for a terminal and for a page. Pure."""

from orchestrator.audit.replay import RunState
from orchestrator.times import parse_timestamp


def time_left(state: RunState, requests_per_second: float, settle_seconds: float | None) -> float | None:
    """Estimate the seconds until the end: the requests still to send at this rate, plus a last settle time."""
    waiting = state.stages["waiting"] + state.stages["sending"]
    underway = state.stages["settling"] + state.stages["unknown"]
    if not waiting and not underway:
        return 0.0
    if settle_seconds is None:
        return None
    return waiting / requests_per_second + settle_seconds


def describe_wave(state: RunState) -> str | None:
    """Describe the current wave of a step; None for a step with a single wave."""
    step, number = state.wave or ("", 1)
    if step not in state.waves:
        return None
    until = state.soaks.get((step, number))
    soaking = "" if until is None else f", next wave not before {parse_timestamp(until):%H:%M:%SZ}"
    return f"wave {number} of {state.waves[step]}{soaking}"
