"""The actions of a playbook, each described once: `ActionSpec`. Pure.

A new action is a member of `Action` and its specification in `Action.spec`. All other modules read the
specification, or decide by the goal of the action.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import assert_never

from orchestrator.cvm import DOWN, UP, is_down, is_up
from orchestrator.outcome import Reason, SkipReason


class Action(StrEnum):
    """The action of a step."""

    STOP = "stop"
    """Cut the power (the API's force stop), and cancel an operation in progress."""
    SHUTDOWN = "shutdown"
    """Ask the guest to shut down; the API kills a guest that does not end in time."""
    START = "start"
    """Power on."""
    RESTART = "restart"
    """Ask the guest to shut down, and power on again."""

    @property
    def spec(self) -> "ActionSpec":
        """The specification."""
        match self:
            case Action.STOP:
                return _STOP
            case Action.SHUTDOWN:
                return _SHUTDOWN
            case Action.START:
                return _START
            case Action.RESTART:
                return _RESTART
            case _:
                assert_never(self)

    @property
    def leaves_running(self) -> bool:
        """Whether a CVM runs after the action; otherwise the CVM is down."""
        match goal := self.spec.goal:
            case Goal.UP | Goal.RESTARTED:
                return True
            case Goal.DOWN:
                return False
            case _:
                assert_never(goal)

    @property
    def starts_cvms(self) -> bool:
        """Whether the action starts CVMs; otherwise the action takes CVMs down, perhaps for a moment."""
        match goal := self.spec.goal:
            case Goal.UP:
                return True
            case Goal.DOWN | Goal.RESTARTED:
                return False
            case _:
                assert_never(goal)

    @property
    def restarts_cvms(self) -> bool:
        """Whether the action needs a running CVM and leaves the CVM running, so no single status proves the action."""
        match goal := self.spec.goal:
            case Goal.RESTARTED:
                return True
            case Goal.DOWN | Goal.UP:
                return False
            case _:
                assert_never(goal)

    @property
    def verb(self) -> str:
        """The action as a verb."""
        return self.spec.verb


class Goal(Enum):
    """The state of a CVM after an action."""

    DOWN = "down"
    UP = "up"
    RESTARTED = "restarted"
    """Up again, after the CVM was down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSpec:
    """The properties of an action.

    Attributes:
        goal: the state of a CVM after the action.
        verb: the action as a verb.
        done: the action as a participle.
        manner: a word on how the action works, for plans; empty if the participle is clear.
        endpoint: last part of the API's path, `POST /cvms/{cvm_id}/ENDPOINT`.
        notes: codes of the billing note of every CVM.
        gpu_note: a further code for a CVM with GPUs.
        charges: whether the API charges the open usage at once; None if no document of the vendor says so.
        settle_s: assumed seconds to settle, for forecasts.
        is_instant: whether the CVM is down with the acceptance, for the bill; otherwise with the status.
        is_batchable: whether `POST /cvms/batch-stop` does the same for up to 50 CVMs.
        escalates_to: the action for CVMs that do not reach the goal in time; None for no escalation.
        ecs_type: `event.type` of the Elastic Common Schema.
    """

    goal: Goal
    verb: str
    done: str
    manner: str = ""
    endpoint: str
    notes: tuple[str, ...]
    gpu_note: str
    charges: bool | None
    settle_s: float
    is_instant: bool = False
    is_batchable: bool = False
    escalates_to: Action | None = None
    ecs_type: str

    @property
    def done_in_full(self) -> str:
        """The participle with the manner."""
        return f"{self.done} ({self.manner})" if self.manner else self.done


_DOWN_NOTES = ("open_compute_charged", "compute_ends", "storage_continues")

_STOP = ActionSpec(
    goal=Goal.DOWN,
    verb="stop",
    done="stopped",
    manner="forced",
    endpoint="stop",
    notes=_DOWN_NOTES,
    gpu_note="gpu_24h_minimum_on_restart",
    charges=True,
    settle_s=30.0,
    is_instant=True,
    is_batchable=True,
    ecs_type="end",
)
_SHUTDOWN = ActionSpec(
    goal=Goal.DOWN,
    verb="shut down",
    done="shut down",
    manner="the guest is asked to",
    endpoint="shutdown",
    notes=_DOWN_NOTES,
    gpu_note="gpu_24h_minimum_on_restart",
    charges=True,
    settle_s=60.0,
    escalates_to=Action.STOP,
    ecs_type="end",
)
_START = ActionSpec(
    goal=Goal.UP,
    verb="start",
    done="started",
    endpoint="start",
    notes=("compute_begins", "storage_continues"),
    gpu_note="gpu_24h_minimum",
    charges=False,
    settle_s=60.0,
    ecs_type="start",
)
_RESTART = ActionSpec(
    goal=Goal.RESTARTED,
    verb="restart",
    done="restarted",
    manner="the guest is asked to shut down",
    endpoint="restart",
    notes=("restart_charge_unknown", "storage_continues"),
    gpu_note="gpu_24h_minimum_possible",
    charges=None,
    settle_s=90.0,
    ecs_type="change",
)


def nothing_to_do(action: Action, status: str, *, in_progress: bool) -> Reason | None:
    """Return the reason why an action has nothing to do on a CVM of this status; None if it has."""
    match goal := action.spec.goal:
        case Goal.DOWN:
            return Reason(SkipReason.ALREADY_DOWN, status) if is_down(status, in_progress=in_progress) else None
        case Goal.RESTARTED:
            return None if status == UP else Reason(SkipReason.NOT_UP, status)
        case Goal.UP:
            if status in DOWN:
                return None
            return Reason(SkipReason.ALREADY_UP if status == UP else SkipReason.NOT_DOWN, status)
        case _:
            assert_never(goal)


def is_as_wanted(action: Action, status: str, *, in_progress: bool) -> bool:
    """Check for the status after an action. No status proves a restart."""
    match goal := action.spec.goal:
        case Goal.DOWN:
            return is_down(status, in_progress=in_progress)
        case Goal.UP:
            return is_up(status, in_progress=in_progress)
        case Goal.RESTARTED:
            return False
        case _:
            assert_never(goal)
