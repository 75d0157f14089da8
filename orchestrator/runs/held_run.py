"""A run held by a worker under a lease."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread

from orchestrator.errors import OrchestratorError
from orchestrator.outcome import Ending
from orchestrator.postgres.lease import UNCHANGED, Lease, Release
from orchestrator.runs.status import StopRequest


class LeaseTaker(Protocol):
    """Takes and lets go leases. May block for seconds."""

    def take(self, run_id: str, taker: str) -> Lease | None:
        """Take a run; None when the run can't be taken now."""
        ...

    def let_go(self, lease: Lease, release: Release = UNCHANGED) -> bool:
        """End a lease; do nothing for a lease that ended before."""
        ...

    def close(self) -> None:
        """Give up all writes that wait for the database."""
        ...


@dataclass(slots=True)
class HeldRun:
    """A run held by this worker.

    Attributes:
        lease: the lease.
        leases: lets the lease go.
        places: the free places for runs of this worker.
        stop: the request to end the run.
        scope: cancelled once another worker has the run.
        ended: set once the run is let go.
        has_place: whether the run has one of the places.
    """

    lease: Lease
    leases: LeaseTaker
    places: anyio.Semaphore
    stop: StopRequest = field(default_factory=StopRequest)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)
    has_place: bool = True

    @property
    def run_id(self) -> str:
        """The run."""
        return self.lease.run_id

    @property
    def is_cancelled(self) -> bool:
        """Whether a person cancelled the run."""
        return self.stop.requested.is_set() and self.stop.ending is Ending.CANCELLED

    @property
    def is_handed_over(self) -> bool:
        """Whether another worker is to continue the run."""
        return self.stop.requested.is_set() and self.stop.ending is Ending.SIGTERM

    def give_place(self) -> None:
        """Leave the place to another run, while this run waits for other runs or ends."""
        if self.has_place:
            self.has_place = False
            self.places.release()

    async def wait_for_place(self) -> None:
        """Wait for a place again."""
        if not self.has_place:
            await self.places.acquire()
            self.has_place = True

    async def let_go(self, release: Release = UNCHANGED) -> None:
        """Let the run go, unless the end of its log did so already. Without the database the lease runs out."""
        with suppress(OrchestratorError):
            await anyio.to_thread.run_sync(self.leases.let_go, self.lease, release)
