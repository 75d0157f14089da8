"""The duty of the schedules, where several machines serve: one process has the duty at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim

if TYPE_CHECKING:
    from orchestrator.postgres.duty import Duty
    from orchestrator.postgres.firing_run import FiringProgress, FiringRun, Verdict

BuildRun = Callable[[FiringClaim, LoadedPlaybook], "FiringRun"]
"""Builds the run of a firing for the store; raises OrchestratorError for a playbook that can't run."""


class DutyStore(Protocol):
    """The store of the duty, its journal and its runs, for one process.

    Every method raises StoreDownError when the store can't be reached; the outcome of a write is then unknown.
    """

    def wall(self) -> datetime:
        """Return the store's time of day, in UTC: the same on all machines."""
        ...

    async def take(self) -> "Duty":
        """Take the duty, or renew the lease.

        The epoch is new after each take, and stays the same while the lease is renewed.
        """
        ...

    async def let_go(self, epoch: int) -> None:
        """End the lease: another process may take the duty at once."""
        ...

    async def read_journal(self) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Read the journal from the last snapshot on: number and record of each line."""
        ...

    async def append(self, epoch: int, seq: int, record: Mapping[str, Any], run: "FiringRun | None" = None) -> bool:
        """Append a line to the journal, and submit a run in the same transaction.

        Returns:
            False, with nothing written, after another take of the duty.
        """
        ...

    async def submit(self, epoch: int, run: "FiringRun") -> "Verdict":
        """Submit a run."""
        ...

    async def read_run(self, run_id: str) -> "FiringProgress | None":
        """Read the progress of a run; None for an unknown run."""
        ...

    async def give_up(self, epoch: int, run_id: str, exit_code: int, reason: str) -> bool:
        """End a run that no worker has taken; False for a taken run, and after another take of the duty."""
        ...

    async def retry(self, epoch: int, run_id: str) -> bool:
        """Start a run again that ended without a record; False too late, and after another take of the duty."""
        ...


@dataclass(slots=True)
class Term:
    """A time with the duty.

    Attributes:
        store: the store.
        epoch: number of the take.
        lost: set at the end of the duty.
        reason: the reason for the end; None before the end.
    """

    store: DutyStore
    epoch: int
    lost: anyio.Event = field(default_factory=anyio.Event)
    reason: str | None = None

    def step_down(self, reason: str) -> None:
        """End the duty in this process; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.lost.set()

    async def wait_for_end(self) -> None:
        """Wait for the end of this task: the leader cancels all tasks of a lost term."""
        await anyio.sleep_forever()
