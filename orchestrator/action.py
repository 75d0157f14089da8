"""The actions of a playbook: what each of them wants of a CVM, and on which CVMs it has anything to do. Pure."""

from enum import StrEnum

from orchestrator.cvm import DOWN, UP, is_down, is_up
from orchestrator.skip_reason import Reason, SkipReason


class Action(StrEnum):
    """What a step does to its CVMs."""

    STOP = "stop"
    """Pulls the power (the API's force stop), and cancels whatever operation is in progress."""
    SHUTDOWN = "shutdown"
    """Asks the guest to shut down; the API kills what has not ended after a while."""
    START = "start"
    """Powers on."""
    RESTART = "restart"
    """Asks the guest to shut down, and powers on again."""

    @property
    def leaves_running(self) -> bool:
        """Whether a CVM is to run afterwards; else it is to be down."""
        return self in {Action.START, Action.RESTART}

    @property
    def verb(self) -> str:
        """The action as a verb."""
        return "shut down" if self is Action.SHUTDOWN else self.value


def nothing_to_do(action: Action, status: str, *, in_progress: bool) -> Reason | None:
    """Why an action has nothing to do on a CVM of this status, such as `already stopped`; None when it has."""
    if not action.leaves_running:
        return Reason(SkipReason.ALREADY_DOWN, status) if is_down(status, in_progress=in_progress) else None
    if action is Action.RESTART:
        return None if status == UP else Reason(SkipReason.NOT_UP, status)
    if status in DOWN:
        return None
    return Reason(SkipReason.ALREADY_UP if status == UP else SkipReason.NOT_DOWN, status)


def is_as_wanted(action: Action, status: str, *, in_progress: bool) -> bool:
    """Whether a CVM of this status is as the action would leave it. No status shows that of a restart."""
    if not action.leaves_running:
        return is_down(status, in_progress=in_progress)
    return action is Action.START and is_up(status, in_progress=in_progress)
