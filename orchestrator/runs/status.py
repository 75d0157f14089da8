"""The progress of a run, its end, and the request to stop."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import anyio

from orchestrator.outcome import Ending


class State(StrEnum):
    """The progress of a run by its audit log."""

    NOTHING_SENT = "nothing_sent"
    """There is no log: the run can begin under its id."""
    VOID = "void"
    """The log has no plan: nothing was sent, and the run needs another id."""
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    HELD = "held"
    """Another process carries the run out."""
    ALTERED = "altered"
    """The log was altered."""
    UNREADABLE = "unreadable"
    """The log cannot be read."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The current status of a run.

    Attributes:
        state: the state of the run.
        last_at: the timestamp of its last record; None without a record.
        exit_code: the exit code of a finished run.
    """

    state: State
    last_at: datetime | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run.

    Attributes:
        exit_code: the exit code, as for the command.
        interrupted: whether the run continues at the next start of the service.
        reason: the reason for a bad end, in words, if not only in the log.
        waits: whether the run waited for another run on the same CVMs, and can begin now.
    """

    exit_code: int
    interrupted: bool = False
    reason: str | None = None
    waits: bool = False


@dataclass(slots=True)
class StopRequest:
    """A request to end runs: no further requests are sent, and sent requests are watched.

    Attributes:
        requested: set by the request.
        at_once: set by a request that leaves sent requests unwatched.
        ending: the reason for the end.
        by: user@host of the person that cancels the run; None without a name.
    """

    requested: anyio.Event = field(default_factory=anyio.Event)
    at_once: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending = Ending.SIGTERM
    by: str | None = None

    def request_end(self, ending: Ending, *, at_once: bool = False, by: str | None = None) -> None:
        """Request the end.

        Args:
            ending: the reason.
            at_once: whether to leave sent requests unwatched: to `resume`, or as unsettled for a cancelled run.
            by: user@host of the person that cancels the run.
        """
        self.ending, self.by = ending, by or self.by
        self.requested.set()
        if at_once:
            self.at_once.set()
