"""What the service needs from outside: a clock, something that carries runs out, and somebody to tell."""

from datetime import datetime
from typing import Protocol

from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, Stop


class Clock(Protocol):
    """The time of day."""

    def wall(self) -> datetime:
        """The time of day, in UTC."""
        ...


class Runner(Protocol):
    """Carries runs out. Neither raises for what can go wrong with a run."""

    def standing(self, run_id: str) -> RunStatus:
        """Where a run stands."""
        ...

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: Stop) -> Ended:
        """Plan and carry out."""
        ...

    async def resume(self, claim: FiringClaim, stop: Stop) -> Ended:
        """Go on with a run whose log is unfinished."""
        ...


class Tell(Protocol):
    """Told of everything that a person or a metric may want to know."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Take note of an event; must not raise."""
        ...
