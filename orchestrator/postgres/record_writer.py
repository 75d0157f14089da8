"""Write the records of all runs of a process to the team store: one statement and one commit for many logs."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from orchestrator.audit.log import Batch
from orchestrator.errors import AuditError, OrchestratorError
from orchestrator.postgres.lease import Lease
from orchestrator.postgres.link import Query
from orchestrator.times import boot_seconds, format_duration

_BACKOFF, _LONGEST_BACKOFF = 0.1, 2.0
"""Seconds between two attempts while the database is down."""

_APPEND = (
    "SELECT run_id, verdict, stop_wanted FROM orchestrator.append_records(%s, %s::text[], %s::bigint[], %s::uuid[],"
    " %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::text[], %b::bytea[])"
)

_LATER = "nothing more was sent; once the store is up: `orchestrator resume {}`"
_FENCED = "nothing more was sent or recorded here; see `orchestrator runs` and `orchestrator report {}`"
_LOST = "nothing more was sent; check for a failover without a synchronous standby, then `orchestrator resume {}`"


class _Entry:
    """A batch on its way.

    Attributes:
        lease: the lease of the run.
        batch: the records and their lines.
        began_at: time of the call.
        asked_at: time before the first statement with the batch; None before that.
        error: the reason of a failure.
    """

    def __init__(self, lease: Lease, batch: Batch, began_at: float) -> None:
        self.lease, self.batch, self.began_at = lease, batch, began_at
        self.asked_at: float | None = None
        self.error: AuditError | None = None
        self.done = anyio.Event()


class RecordWriter:
    """Writes the batches of all runs of a process. Used from one event loop.

    Batches gather while a statement is under way, and the next statement writes all of them. During an outage of the
    database the same batches are tried again: the database answers `already` for a batch whose answer was lost.

    Attributes:
        is_down: whether the last attempt failed.
    """

    def __init__(
        self, query: Query, seconds: float, outage: float, *, clock: Callable[[], float] = boot_seconds
    ) -> None:
        """Set up.

        Args:
            query: executes a statement.
            seconds: the length of a lease: every write renews the lease.
            outage: the longest outage of the database, in seconds.
            clock: the clock of the leases.
        """
        self._query, self._seconds, self._outage, self._clock = query, seconds, outage, clock
        self._waiting: list[_Entry] = []
        self._wakeup = anyio.Event()
        self._has_ended = False
        self.is_down = False

    async def write(self, lease: Lease, batch: Batch) -> None:
        """Return once a batch is durable in the database. The writes of one run come one after another.

        Raises:
            AuditError: when another process took the run, the log has another end, or the outage is too long; then
                nothing more may be sent.
        """
        if lease.is_lost:
            raise _fenced(lease)
        entry = _Entry(lease, batch, self._clock())
        if self._has_ended:
            raise _ended(lease)
        self._waiting.append(entry)
        self._wakeup.set()
        await entry.done.wait()
        if entry.error is not None:
            raise entry.error

    @asynccontextmanager
    async def work(self) -> AsyncIterator[None]:
        """Write batches for the length of the block; batches without an answer at its end fail."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._run)
            yield
            group.cancel_scope.cancel()

    async def _run(self) -> None:
        backoff = _BACKOFF
        try:
            while True:
                await self._wakeup.wait()
                try:
                    await self._append(self._waiting)
                    backoff, self.is_down = _BACKOFF, False
                except OrchestratorError as error:
                    self.is_down = True
                    self._give_up_overdue(error)
                    await anyio.sleep(backoff)
                    backoff = min(2 * backoff, _LONGEST_BACKOFF)
                if not self._waiting:
                    self._wakeup = anyio.Event()
        finally:
            self._has_ended = True
            for entry in list(self._waiting):
                entry.error = _ended(entry.lease)
                self._finish(entry)

    async def _append(self, entries: Sequence[_Entry]) -> None:
        """Write batches with one statement, and give every batch its answer.

        Raises:
            OrchestratorError: when the outcome is not known; the batches wait then.
        """
        entries = list(entries)
        asked_at = self._clock()
        for entry in entries:
            entry.asked_at = asked_at if entry.asked_at is None else entry.asked_at
        try:
            rows = await self._query(_APPEND, [timedelta(seconds=self._seconds), *_make_arguments(entries)])
        except OrchestratorError as error:
            if not _contradicts(error):
                raise
            # A batch contradicts the table: find that batch, and let the other runs go on.
            if len(entries) > 1:
                for entry in entries:
                    await self._append([entry])
            else:
                self._fail_for_good(entries[0], str(error))
            return
        verdicts = {run_id: (verdict, stop_wanted) for run_id, verdict, stop_wanted in rows}
        for entry in entries:
            self._settle(entry, *verdicts[entry.lease.run_id], asked_at)

    def _settle(self, entry: _Entry, verdict: str, stop_wanted: str | None, asked_at: float) -> None:
        lease = entry.lease
        if verdict == "ok":
            lease.renew(asked_at, stop_wanted)
        elif verdict == "already":
            # The commit renewed the lease at an unknown time after the first attempt.
            assert entry.asked_at is not None  # noqa: S101 - asked in `_append`
            lease.renew(entry.asked_at, stop_wanted)
        elif verdict == "fenced":
            lease.lose()
            entry.error = _fenced(lease)
        else:
            self._fail_for_good(
                entry, f"the log in the store no longer ends with record {entry.batch[0][0]['seq'] - 1}"
            )
            return
        self._finish(entry)

    def _give_up_overdue(self, error: OrchestratorError) -> None:
        now = self._clock()
        for entry in list(self._waiting):
            if entry.lease.is_hurried or now - entry.began_at >= self._outage:
                self._fail(entry, f"no answer for {format_duration(now - entry.began_at)}: {error}", _LATER)

    def _fail_for_good(self, entry: _Entry, reason: str) -> None:
        """Leave a log with another end to a person: a lost record may be the record of a sent request."""
        entry.lease.has_other_end = True
        self._fail(entry, reason, _LOST)

    def _fail(self, entry: _Entry, reason: str, hint: str) -> None:
        entry.error = AuditError(f"the audit log can't be written: {reason}", hint=hint.format(entry.lease.run_id))
        self._finish(entry)

    def _finish(self, entry: _Entry) -> None:
        self._waiting.remove(entry)
        entry.done.set()


def _make_arguments(entries: Sequence[_Entry]) -> list[list[object]]:
    runs = [
        (*entry.lease.fence, first["seq"] - 1, first["prev"], last["seq"], last["hash"])
        for entry in entries
        for first, last in [(entry.batch[0][0], entry.batch[-1][0])]
    ]
    lines = [
        (entry.lease.run_id, record["seq"], record["event"], line) for entry in entries for record, line in entry.batch
    ]
    return [*map(list, zip(*runs, strict=True)), *map(list, zip(*lines, strict=True))]


def _contradicts(error: OrchestratorError) -> bool:
    """Return True for a statement that the database will always refuse, because of its values."""
    import psycopg  # noqa: PLC0415 - an extra; loaded before, with the connection

    return isinstance(error.__cause__, psycopg.IntegrityError | psycopg.DataError)


def _ended(lease: Lease) -> AuditError:
    return AuditError("the audit log can't be written: the process ends", hint=_LATER.format(lease.run_id))


def _fenced(lease: Lease) -> AuditError:
    hint = _FENCED.format(lease.run_id)
    return AuditError("another process took the run over: its lease had expired", hint=hint)
