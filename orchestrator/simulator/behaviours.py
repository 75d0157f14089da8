"""What follows a stop, for CVMs that obey and for those that do not."""

from collections.abc import Callable

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.settings import Behaviour
from orchestrator.simulator.timeline import GONE, Operation, Phase

DEFAULT_RESURRECTION_SECONDS = 30.0
DEFAULT_BUSY_ATTEMPTS = 2

_StopRule = Callable[[SimulatedCvm, Behaviour, Operation, float], list[Phase]]


def phases_after_stop(cvm: SimulatedCvm, operation: Operation, *, going: str, seconds: float) -> list[Phase]:
    """The phases that follow a stop begun by `operation`: `going` at once, then whatever this CVM does.

    Args:
        cvm: the CVM that was told to stop.
        operation: the stop or shutdown.
        going: the status on the way down, `stopping` or `shutting_down`.
        seconds: how long the way down takes.
    """
    begun = operation.started
    first = Phase(begun, going, operation)
    landing = begun + seconds
    behaviour = cvm.behaviour
    rule = _STOP_RULES.get(behaviour.kind) if behaviour else None
    if behaviour is None or rule is None:
        return [first, Phase(landing, "stopped")]
    return [first, *rule(cvm, behaviour, operation, landing)]


def is_busy(cvm: SimulatedCvm, now: float) -> bool:
    """Whether the CVM turns this stop attempt, already counted, away as busy."""
    behaviour = cvm.behaviour
    if behaviour is None or behaviour.kind != "busy" or cvm.first_attempt is None:
        return False
    if behaviour.seconds is not None and now < cvm.first_attempt + behaviour.seconds:
        return True
    attempts = behaviour.attempts
    if attempts is None:
        attempts = 0 if behaviour.seconds is not None else DEFAULT_BUSY_ATTEMPTS
    return cvm.stop_attempts <= attempts


def _stay_stopping(_cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, _landing: float) -> list[Phase]:
    return []


def _return_to_running(_cvm: SimulatedCvm, behaviour: Behaviour, operation: Operation, landing: float) -> list[Phase]:
    at = landing if behaviour.seconds is None else operation.started + behaviour.seconds
    return [Phase(at, "running", metered=True)]


def _start_again(cvm: SimulatedCvm, behaviour: Behaviour, operation: Operation, landing: float) -> list[Phase]:
    pause = DEFAULT_RESURRECTION_SECONDS if behaviour.seconds is None else behaviour.seconds
    revival = landing + pause
    starting = Operation(f"{operation.correlation_id}-revival", "power_on", "running", revival)
    return [
        Phase(landing, "stopped"),
        Phase(revival, "starting", starting, metered=True),
        Phase(revival + cvm.delays.start, "running", metered=True),
    ]


def _end_in_error(_cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, landing: float) -> list[Phase]:
    return [Phase(landing, "error")]


def _vanish_after_stop(_cvm: SimulatedCvm, _behaviour: Behaviour, _operation: Operation, landing: float) -> list[Phase]:
    return [Phase(landing, GONE)]


def _show_odd_status(_cvm: SimulatedCvm, behaviour: Behaviour, _operation: Operation, landing: float) -> list[Phase]:
    weird = Phase(landing, behaviour.status)
    return [weird] if behaviour.seconds is None else [weird, Phase(landing + behaviour.seconds, "stopped")]


_STOP_RULES: dict[str, _StopRule] = {
    "stuck": _stay_stopping,
    "returns": _return_to_running,
    "resurrects": _start_again,
    "errors": _end_in_error,
    "vanishes": _vanish_after_stop,
    "weird_status": _show_odd_status,
}
