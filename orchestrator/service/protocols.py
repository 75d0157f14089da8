"""What the service needs from outside: a clock, something that carries runs out, and somebody to tell."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import anyio

from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.service.service_state import Claim


class Clock(Protocol):
    """The time of day."""

    def wall(self) -> datetime:
        """The time of day, in UTC."""
        ...


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
class Standing:
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


class Runner(Protocol):
    """Carries runs out. Neither raises for what can go wrong with a run."""

    def standing(self, run_id: str) -> Standing:
        """Where a run stands."""
        ...

    async def start(self, claim: Claim, loaded: LoadedPlaybook, stop: Stop) -> Ended:
        """Plan and carry out."""
        ...

    async def resume(self, claim: Claim, stop: Stop) -> Ended:
        """Go on with a run whose log is unfinished."""
        ...


class Tell(Protocol):
    """Told of everything that a person or a metric may want to know."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Take note of an event; must not raise."""
        ...
