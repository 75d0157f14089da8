"""How far a run has come, how it ended, and the request to stop it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import anyio

from orchestrator.outcome import Ending


class State(StrEnum):
    """How far a run has come, as its audit log says."""

    NOTHING_SENT = "nothing_sent"
    """There is no log, so that the run can begin under its id."""
    VOID = "void"
    """There is a log without a plan: nothing was sent, and nothing can be under this id."""
    UNFINISHED = "unfinished"
    FINISHED = "finished"
    HELD = "held"
    """Another process is carrying it out."""
    ALTERED = "altered"
    """The log is not what was written."""
    UNREADABLE = "unreadable"
    """The log cannot be read."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands.

    Attributes:
        state: how far it has come.
        last_at: the moment of its last record; None where it has none.
        exit_code: of a finished run.
    """

    state: State
    last_at: datetime | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        exit_code: as the command's.
        interrupted: whether it is to go on when the service is started anew.
        reason: in words why it did not end well, where that is not in its log alone.
        waits: whether it waited for another run that acted on the same CVMs, and can begin now.
    """

    exit_code: int
    interrupted: bool = False
    reason: str | None = None
    waits: bool = False


@dataclass(slots=True)
class Stop:
    """A wish that runs come to their end: they send nothing more, and watch what was sent.

    Attributes:
        wanted: set once it is wanted.
        ending: what for.
    """

    wanted: anyio.Event = field(default_factory=anyio.Event)
    ending: Ending = Ending.SIGTERM

    def want(self, ending: Ending) -> None:
        """Want it."""
        self.ending = ending
        self.wanted.set()
