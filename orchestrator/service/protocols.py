"""Interfaces to the outside: clock, runner and event sink."""

from datetime import datetime
from typing import Protocol

from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, StopRequest


class Clock(Protocol):
    """A clock for the time of day."""

    def wall(self) -> datetime:
        """Return the time of day, in UTC."""
        ...


class Runner(Protocol):
    """Executes runs. Failures of a run are results, not exceptions."""

    def read_status(self, run_id: str) -> RunStatus:
        """Read the status of a run from its audit log."""
        ...

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: StopRequest) -> Ended:
        """Plan and execute a new run."""
        ...

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Continue a run with an unfinished log."""
        ...


class EventSink(Protocol):
    """Receives every event for the log and the metrics."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Handle an event; must not raise."""
        ...
