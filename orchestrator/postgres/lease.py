"""Lease of a run in the team store: the right of one process to write the run's log and to send its requests.

The database alone decides over leases, by its own clock. A process counts its lease from a moment before the query, on
a clock that also counts the sleep of the machine: so the process always stops before another process can begin.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from orchestrator.postgres.link import Query
from orchestrator.times import boot_seconds

FORMAT = 2
"""The newest format of runs that this program can carry out. An older worker would take a wake (2) for a stop."""
BASE_FORMAT = 1
"""The format of all other runs."""

_TAKES = {
    "worker": "take_run(%s, %s, %s, %s, %s)",
    "person": "take_run_for_person(%s, %s, %s, %s, %s)",
    "finished": "take_finished_run(%s, %s, %s, %s, %s)",
}


class Fence(NamedTuple):
    """The right to act for a run, until another process takes the run."""

    run_id: str
    epoch: int
    lease_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Release:
    """The future of a run at the end of its lease.

    Attributes:
        state: the state of the run from now on; None keeps the state.
        exit_code: the exit code of a finished run.
        reason: the reason of the state, for people.
        wait: seconds during which no worker takes the run.
    """

    state: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    wait: float = 0.0


UNCHANGED = Release()
"""Any worker may take the run at once."""


class Lease:
    """A lease held by this process. May be read from any thread.

    Attributes:
        fence: the right, for statements.
        seconds: the length.
        workspace: the workspace of the run; empty for a finished run.
        spec: what was submitted.
        state: the state of the run at the take.
        seq: number of the last record at the take.
        stop_wanted: `gracefully` or `at_once` once a person cancels the run.
        is_lost: whether another process took the run.
        has_other_end: whether the log in the store has another end than this process wrote, such as after a failover.
        is_hurried: whether writes of the run no longer wait for the end of an outage.
    """

    def __init__(
        self,
        fence: Fence,
        seconds: float,
        asked_at: float,
        *,
        workspace: str = "",
        spec: dict[str, Any] | None = None,
        state: str = "finished",
        seq: int = 0,
        stop_wanted: str | None = None,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self.fence, self.seconds = fence, seconds
        self.workspace, self.spec, self.state, self.seq = workspace, spec or {}, state, seq
        self.stop_wanted = stop_wanted
        self.is_lost = self.has_other_end = self.is_hurried = False
        self._renewed_at, self._clock = asked_at, clock
        self._on_lost: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Lease {self.fence.run_id} epoch {self.fence.epoch}, {self.seconds_left():.1f} s left>"

    @property
    def run_id(self) -> str:
        """The run."""
        return self.fence.run_id

    @property
    def epoch(self) -> int:
        """Number of takes of the run so far."""
        return self.fence.epoch

    def seconds_left(self) -> float:
        """Seconds until another process may take the run; negative afterwards, and for a lost lease."""
        return -1.0 if self.is_lost else self._renewed_at + self.seconds - self._clock()

    def lasts(self, seconds: float) -> bool:
        """Return True if the lease is sure to last for longer than some seconds from now."""
        return self.seconds_left() > seconds

    def renew(self, asked_at: float, stop_wanted: str | None) -> None:
        """Note a renewal by the database.

        Args:
            asked_at: time on this lease's clock before the query.
            stop_wanted: the wish of a person to end the run.
        """
        self._renewed_at = max(self._renewed_at, asked_at)
        self.stop_wanted = stop_wanted

    def lose(self) -> None:
        """Note the loss of the lease, and call the observers of the loss."""
        if not self.is_lost:
            self.is_lost = True
            for observer in self._on_lost:
                observer()

    def when_lost(self, observer: Callable[[], None]) -> None:
        """Call a function at the loss of the lease, in the thread of the store; at once after a loss."""
        self._on_lost.append(observer)
        if self.is_lost:
            observer()


async def take_run(
    query: Query, run_id: str, holder: str, seconds: float, *, taker: str, clock: Callable[[], float] = boot_seconds
) -> Lease | None:
    """Take a run; None when the run can't be taken now, such as a run held by another process.

    The outcome of a failed query is not known: then the run is free again after the length of a lease.

    Args:
        query: executes a statement.
        run_id: the run.
        holder: this process, for people.
        seconds: the length of the lease.
        taker: `worker`; `person`; or `finished`, for records about a finished run.
        clock: seconds on a clock that also counts the sleep of this machine.

    Raises:
        StoreDownError: when the database can't be reached.
        SettingsError: when the database refuses the statement.
    """
    lease_id, asked_at = uuid.uuid4(), clock()
    columns = "epoch, seq" if taker == "finished" else "epoch, seq, workspace, spec, state, stop_wanted"
    arguments = [run_id, lease_id, holder, timedelta(seconds=seconds), FORMAT]
    rows = await query(f"SELECT {columns} FROM orchestrator.{_TAKES[taker]}", arguments)  # noqa: S608 - constants
    if not rows:
        return None
    epoch, seq, *more = rows[0]
    given = dict(zip(("workspace", "spec", "state", "stop_wanted"), more, strict=False))
    return Lease(Fence(run_id, epoch, lease_id), seconds, asked_at, seq=seq, clock=clock, **given)


async def let_go_run(query: Query, lease: Lease, release: Release = UNCHANGED) -> bool:
    """End a lease; return False after another take.

    Raises:
        StoreDownError: when the database can't be reached.
        SettingsError: when the database refuses the statement.
    """
    arguments = [*lease.fence, release.state, release.exit_code, release.reason, timedelta(seconds=release.wait)]
    ((is_freed,),) = await query("SELECT orchestrator.let_go_run(%s, %s, %s, %s, %s, %s, %s)", arguments)
    return bool(is_freed)
