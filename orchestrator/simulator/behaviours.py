"""Statuses after a stop, with and without misbehaviour."""

from collections.abc import Callable

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.settings import Behaviour
from orchestrator.simulator.timeline import GONE, CvmPhase, Operation

DEFAULT_RESURRECTION_SECONDS = 30.0
DEFAULT_BUSY_ATTEMPTS = 2

_StopRule = Callable[[SimulatedCvm, Behaviour, Operation, float], list[CvmPhase]]


def phases_after_stop(cvm: SimulatedCvm, operation: Operation, *, going: str, seconds: float) -> list[CvmPhase]:
    """Foresee the phases after a stop or shutdown: first `going`, then the CVM's behaviour.

    Args:
        cvm: the CVM to stop.
        operation: the stop or shutdown; the first phase begins with it.
        going: the status on the way down, `stopping` or `shutting_down`.
        seconds: duration of the way down.
    """
    begun = operation.started
    first = CvmPhase(begun, going, operation)
    landing = begun + seconds
    behaviour = cvm.behaviour
    rule = _STOP_RULES.get(behaviour.kind) if behaviour else None
    if behaviour is None or rule is None:
        return [first, CvmPhase(landing, "stopped")]
    return [first, *rule(cvm, behaviour, operation, landing)]


def is_busy(cvm: SimulatedCvm, now: float) -> bool:
    """Return True if the CVM refuses this stop attempt, already counted, as busy."""
    behaviour = cvm.behaviour
    if behaviour is None or behaviour.kind != "busy" or cvm.first_attempt is None:
        return False
    if behaviour.seconds is not None and now < cvm.first_attempt + behaviour.seconds:
        return True
    attempts = behaviour.attempts
    if attempts is None:
        attempts = 0 if behaviour.seconds is not None else DEFAULT_BUSY_ATTEMPTS
    return cvm.stop_attempts <= attempts


def _stay_stopping(_cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, _landing: float) -> list[CvmPhase]:
    return []


def _return_to_running(
    _cvm: SimulatedCvm, behaviour: Behaviour, operation: Operation, landing: float
) -> list[CvmPhase]:
    at = landing if behaviour.seconds is None else operation.started + behaviour.seconds
    return [CvmPhase(at, "running", metered=True)]


def _start_again(cvm: SimulatedCvm, behaviour: Behaviour, operation: Operation, landing: float) -> list[CvmPhase]:
    pause = DEFAULT_RESURRECTION_SECONDS if behaviour.seconds is None else behaviour.seconds
    revival = landing + pause
    starting = Operation(f"{operation.correlation_id}-revival", "power_on", "running", revival)
    return [
        CvmPhase(landing, "stopped"),
        CvmPhase(revival, "starting", starting, metered=True),
        CvmPhase(revival + cvm.delays.start, "running", metered=True),
    ]


def _end_in_error(_cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, landing: float) -> list[CvmPhase]:
    return [CvmPhase(landing, "error")]


def _vanish_after_stop(
    _cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, landing: float
) -> list[CvmPhase]:
    return [CvmPhase(landing, GONE)]


def _show_odd_status(_cvm: SimulatedCvm, behaviour: Behaviour, _operation: Operation, landing: float) -> list[CvmPhase]:
    weird = CvmPhase(landing, behaviour.status)
    return [weird] if behaviour.seconds is None else [weird, CvmPhase(landing + behaviour.seconds, "stopped")]


_STOP_RULES: dict[str, _StopRule] = {
    "stuck": _stay_stopping,
    "returns": _return_to_running,
    "resurrects": _start_again,
    "errors": _end_in_error,
    "vanishes": _vanish_after_stop,
    "weird_status": _show_odd_status,
}
