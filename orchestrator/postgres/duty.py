"""The duty of the schedules in the team store: one process at a time writes the journal and submits firings.

The database's clock is the clock of the schedules, on all machines.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.postgres.firing_run import FiringProgress, FiringRun, Verdict
from orchestrator.postgres.lease import BASE_FORMAT
from orchestrator.postgres.link import Query
from orchestrator.postgres.migrate import SchemaVersion, check_version
from orchestrator.times import boot_seconds

_NAME = "schedules"
_TAKE = (
    "SELECT taken.epoch, found.holder, extract(epoch FROM clock_timestamp())::float8 FROM (SELECT) AS one"
    " LEFT JOIN orchestrator.take_duty(%s, %s, %s, %s) AS taken(epoch) ON true"
    " LEFT JOIN orchestrator.read_duty(%s) AS found ON true"
)
_RUN = "%s, %s, %s, %s, %s, %s, %s, %s, %s, %s"


@dataclass(frozen=True, slots=True)
class Duty:
    """The holder of the duty.

    Attributes:
        epoch: number of the take by this process; None while another process has the duty.
        holder: the process with the duty, as far as known.
    """

    epoch: int | None
    holder: str | None


NO_DUTY = Duty(None, None)


class StoreDuty:
    """The duty in the database, for one process, as the service's `DutyStore`."""

    def __init__(self, query: Query, *, holder: str, lease: float, clock: Callable[[], float] = boot_seconds) -> None:
        """Set up.

        Args:
            query: executes a statement.
            holder: name of this process, for people.
            lease: time until another process may take the duty of a dead process, in seconds.
            clock: a clock that also counts the sleep of the machine, in seconds.
        """
        self._query, self._holder, self._lease, self._clock = query, holder, timedelta(seconds=lease), clock
        self._lease_id = uuid.uuid4()
        self._offset: float | None = None
        self._is_checked = False

    def wall(self) -> datetime:
        """Return the database's time of day; this machine's before the first answer of the database."""
        if self._offset is None:
            return datetime.now(UTC)
        return datetime.fromtimestamp(self._offset + self._clock(), UTC)

    async def take(self) -> Duty:
        """Take the duty, or renew the lease, as `DutyStore.take`.

        Raises:
            SettingsError: when the schema is missing or unusable, or when the user has no rights.
            StoreDownError: when the database can't be reached.
        """
        if not self._is_checked:
            ((version, oldest),) = await self._query("SELECT * FROM orchestrator.read_version()", [])
            check_version(SchemaVersion(version or 0, oldest or 0))
            self._is_checked = True
        before = self._clock()
        ((epoch, holder, now),) = await self._query(_TAKE, [_NAME, self._lease_id, self._holder, self._lease, _NAME])
        self._offset = now - (before + self._clock()) / 2
        return Duty(epoch, self._holder if epoch is not None else holder)

    async def let_go(self, epoch: int) -> None:
        """End the lease, as `DutyStore.let_go`."""
        await self._ask("SELECT orchestrator.let_go_duty(%s, %s, %s)", [_NAME, epoch, self._lease_id])

    async def read_journal(self) -> list[tuple[int, dict[str, Any]]]:
        """Read the journal from the last snapshot on, as `DutyStore.read_journal`."""
        return [(seq, line) for seq, line in await self._ask("SELECT * FROM orchestrator.read_journal_tail()", [])]

    async def append(self, epoch: int, seq: int, record: Mapping[str, Any], run: FiringRun | None = None) -> bool:
        """Append a line to the journal, and submit a run, as `DutyStore.append`."""
        line = [epoch, self._lease_id, seq, json.dumps(record)]
        if run is None:
            rows = await self._ask("SELECT orchestrator.append_journal(%s, %s, %s, %s)", line)
        else:
            statement = f"SELECT orchestrator.claim_firing(%s, %s, %s, %s, {_RUN})"
            rows = await self._ask(statement, [*line, *_list_arguments(run)])
        return rows == [(True,)]

    async def submit(self, epoch: int, run: FiringRun) -> Verdict:
        """Submit a run, as `DutyStore.submit`."""
        statement = f"SELECT orchestrator.submit_firing(%s, %s, {_RUN})"
        ((verdict,),) = await self._ask(statement, [epoch, self._lease_id, *_list_arguments(run)])
        return Verdict(verdict)

    async def read_run(self, run_id: str) -> FiringProgress | None:
        """Read the progress of a run, as `DutyStore.read_run`."""
        rows = await self._ask("SELECT * FROM orchestrator.read_firing_run(%s)", [run_id])
        return FiringProgress(*rows[0]) if rows else None

    async def give_up(self, epoch: int, run_id: str, exit_code: int, reason: str) -> bool:
        """End a run that no worker has taken, as `DutyStore.give_up`."""
        statement = "SELECT orchestrator.give_up_firing(%s, %s, %s, %s, %s)"
        return await self._ask(statement, [epoch, self._lease_id, run_id, exit_code, reason]) == [(True,)]

    async def retry(self, epoch: int, run_id: str) -> bool:
        """Start a run again that ended without a record, as `DutyStore.retry`."""
        statement = "SELECT orchestrator.retry_firing(%s, %s, %s)"
        return await self._ask(statement, [epoch, self._lease_id, run_id]) == [(True,)]

    async def _ask(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        """Execute a statement of the holder.

        Raises:
            StoreDownError: when the database gives no answer, and when the database refuses the statement: a number
                of the journal in use, say. The process then steps down, and reads the journal anew.
        """
        try:
            return await self._query(statement, arguments)
        except StoreDownError:
            raise
        except OrchestratorError as error:
            raise StoreDownError(error.message, hint=error.hint) from error


def _list_arguments(run: FiringRun) -> list[object]:
    """List the arguments of `submit_firing` for a run."""
    return [
        *(run.run_id, run.workspace, run.rate, run.burst, run.playbook, run.planned),
        *(json.dumps(run.spec), run.spec.get("v", BASE_FORMAT), run.start_before, run.submitted_by),
    ]
