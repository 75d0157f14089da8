"""Write the audit log: hash each record at once, and make records durable in groups, in a file or elsewhere.

`record` puts a record into the chain. `flush` returns once all records so far are on disk. New records gather during an
fsync, and the next fsync writes them together for all waiting tasks. There is no other grouping.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, Self

import anyio
import anyio.to_thread

from orchestrator.audit.events import Event
from orchestrator.audit.record import Chain, Record
from orchestrator.audit.verify import Reading, Take, Torn, Verdict, read_log
from orchestrator.errors import AuditError, RunHeldError, SettingsError
from orchestrator.state_files import create_file, make_folder, sync_file, sync_folder, write_all
from orchestrator.times import utc_now

if TYPE_CHECKING:  # files have no permit
    from orchestrator.permit import SendPermit

_REPAIR = "nothing more was sent; free disk space or repair the disk, then `orchestrator resume`"
_GONE = "nothing more was sent; without its log the run can't be resumed: see `orchestrator plan` for what is still up"

_LOCK_ATTEMPTS, _LOCK_PAUSE = 6, 0.05
"""Attempts to lock a log held by another process, and the pause between two attempts in seconds."""

Observer = Callable[[Record], None]
Batch = list[tuple[Record, bytes]]
Sync = Callable[[Callable[[], None]], Awaitable[None]]


@dataclass(slots=True)
class PendingWrite:
    """A write of a log, in two steps; a call takes both steps.

    Attributes:
        fd: the file.
        data: the lines.
    """

    fd: int
    data: bytes

    def __call__(self) -> None:
        """Write the data and make the data durable."""
        self.write()
        self.sync()

    def write(self) -> None:
        """Write the data, not durable yet."""
        write_all(self.fd, self.data)

    def sync(self) -> None:
        """Make the written data durable."""
        sync_file(self.fd)
        if os.fstat(self.fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "the log file was deleted while the run was going on")


LogSync = Callable[[PendingWrite], Awaitable[None]]
"""Function to run the writes of a log; every `Sync` fits."""


async def in_thread(write: Callable[[], None]) -> None:
    """Write in a worker thread, so that a slow disk does not block the event loop."""
    await anyio.to_thread.run_sync(write)


async def write_inline(write: Callable[[], None]) -> None:
    """Write on the event loop's own thread; for virtual time, because a virtual clock sees a thread as idle."""
    write()


class Backing(Protocol):
    """Durable place of the lines of one log, held by this process alone."""

    @property
    def permit(self) -> "SendPermit | None":
        """Permit for the requests of the run; None if this process holds the log for as long as it lives."""
        ...

    @property
    def holder(self) -> Mapping[str, object]:
        """Fields of `run.resumed` and `fleet.resumed` about the holder of the log; empty for a file."""
        ...

    @property
    def location(self) -> str:
        """The place, for people."""
        ...

    async def write(self, batch: Batch) -> None:
        """Write a batch; durable at the return. The caller shields the call from cancellation.

        Raises:
            OSError: when the batch can't be written.
            AuditError: the same, with a remedy for this place.
        """
        ...

    def report_outages(self, warn: Callable[..., object]) -> None:
        """Call a function at the beginning and the end of an outage of the place: with an event's name, and facts."""
        ...

    def end_wait(self) -> None:
        """Wait for the end of an outage no longer: the next failed attempt fails the write."""
        ...

    def close(self) -> None:
        """Let the log go. A second call does nothing."""
        ...


class FileBacking:
    """File of a log, locked against every other process."""

    permit = None
    holder: Mapping[str, object] = MappingProxyType({})

    def __init__(self, path: Path, fd: int, sync: LogSync) -> None:
        self.location = str(path)
        self._fd, self._sync, self._closed = fd, sync, False

    async def write(self, batch: Batch) -> None:
        """Append the lines to the file, as `Backing.write`."""
        # The lines are joined on the event loop: the writing thread shares no state of the log.
        await self._sync(PendingWrite(self._fd, b"".join(line for _, line in batch)))

    def report_outages(self, warn: Callable[..., object]) -> None:
        """Report nothing: a failed write of a file ends the run."""

    def end_wait(self) -> None:
        """Do nothing: no write waits for the end of an outage."""

    def use_writer(self, sync: LogSync) -> None:
        """Run the next writes by another function, such as a `GroupedWriter`; a function given at the start stays."""
        if self._sync is in_thread:
            self._sync = sync

    def close(self) -> None:
        """Close the file and release the lock."""
        if not self._closed:
            self._closed = True
            os.close(self._fd)


class AuditLog:
    """Audit log of a run, open for appending and held by this process alone.

    Attributes:
        backing: the durable place of the lines.
        run_id: the run.
        observers: called on the event loop with each record once the record is durable; observers must not raise.
    """

    def __init__(self, backing: Backing, chain: Chain, *, wall: Callable[[], datetime] = utc_now) -> None:
        self.backing = backing
        self.run_id = chain.run_id
        self.observers: list[Observer] = []
        self._chain = chain
        self._wall = wall
        self._waiting: Batch = []
        self._opened_at = chain.seq
        self._durable = chain.seq
        self._write_done: anyio.Event | None = None
        self._failure: AuditError | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        run_id: str,
        first: Iterable[tuple[str, dict[str, object]]],
        *,
        observers: Iterable[Observer] = (),
        wall: Callable[[], datetime] = utc_now,
        sync: LogSync = in_thread,
    ) -> Self:
        """Create a log with its first records; file, folder and records are durable at the return.

        Raises:
            SettingsError: when the state folder can't be used; no request was sent then.
        """
        fd = None
        try:
            make_folder(path.parent)
            fd = create_file(path, os.O_WRONLY | os.O_APPEND)
            _lock_file(fd, path)
            log = cls(FileBacking(path, fd, sync), Chain(run_id), wall=wall)
            log.observers += observers
            batch = log.take_first(first)
            PendingWrite(fd, b"".join(line for _, line in batch))()
            sync_folder(path.parent)
        except OSError as error:
            if fd is not None:
                _take_back(path, fd)
            raise SettingsError(
                f"the audit log can't be written: {error.strerror or error}",
                file=path,
                hint="nothing was sent; set ORCHESTRATOR_STATE_DIR to a folder that can be written",
            ) from error
        log.settle(batch)
        return log

    @classmethod
    def reopen(
        cls,
        path: Path,
        take: Take,
        *,
        read: Callable[[Path, Take], Reading] = read_log,
        wall: Callable[[], datetime] = utc_now,
        sync: LogSync = in_thread,
    ) -> tuple[Self, Reading]:
        """Open a log to continue the log: lock the file first, then read and check the records.

        The lock comes first, so no other process can continue the log during the read.

        Args:
            path: the file.
            take: called with each record of the log, as in `read_log`.
            read: function to read and check the log.
            wall: the time of day.
            sync: function to run the writes.

        Raises:
            RunHeldError: when another process is carrying the run out.
            SettingsError: when the log does not exist, or can't be written.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            _lock_file(fd, path)
            reading = read(path, take)
        except OSError as error:
            raise SettingsError(f"the audit log can't be continued: {error.strerror or error}", file=path) from error
        return cls(FileBacking(path, fd, sync), reading.chain, wall=wall), reading

    def record_resumed(
        self, torn: Torn | None, event: str = Event.RUN_RESUMED, /, *, unterminated: bool, **fields: object
    ) -> None:
        """Record `run.resumed`, or another event; the same write ends a torn last line and names the torn line."""
        self._record_after_tear(event, {**fields, **self.backing.holder}, torn, unterminated=unterminated)

    def record_about(self, reading: Reading, event: str, **fields: object) -> None:
        """Put a record about a finished run into its chain; the first such record ends a torn last line.

        Args:
            reading: result of `reopen`.
            event: an event of `AFTER_FINISH`.
            **fields: fields of the record.

        Raises:
            AuditError: when the run did not finish, or an earlier write failed.
        """
        if not reading.finished or reading.verdict is Verdict.ALTERED:
            raise AuditError(f"the run did not finish, so {event} can't be recorded", file=self.backing.location)
        if self._chain.seq == self._opened_at:
            self._record_after_tear(event, fields, reading.torn, unterminated=reading.unterminated)
        else:
            self.record(event, **fields)

    def _record_after_tear(
        self, event: str, fields: dict[str, object], torn: Torn | None, *, unterminated: bool
    ) -> None:
        if torn is not None:
            fields["torn"] = torn.document()
        self.record(event, **fields)
        if unterminated:
            record, line = self._waiting[-1]
            self._waiting[-1] = (record, b"\n" + line)

    def record(self, event: str, **fields: object) -> None:
        """Put a record into the chain; a later `flush` makes the record durable.

        Raises:
            AuditError: when an earlier write failed.
        """
        if self._failure is not None:
            raise self._failure
        self._waiting.append(self._chain.append(event, fields, self._wall()))

    async def flush(self) -> None:
        """Return once all records so far are on disk.

        Raises:
            AuditError: when the log can't be written. Without a record no stop: nothing may be sent after this error.
        """
        wanted = self._chain.seq
        while self._durable < wanted:
            if self._failure is not None:
                raise self._failure
            if self._write_done is not None:
                await self._write_done.wait()
                continue
            self._write_done = anyio.Event()
            try:
                # Shielded: the result of a started write must be known, even if the waiting task is cancelled.
                with anyio.CancelScope(shield=True):
                    batch, self._waiting = self._waiting, []
                    await self.backing.write(batch)
                self.settle(batch)
            except AuditError as error:
                self._failure = error
                raise
            except OSError as error:
                self._failure = AuditError(
                    f"the audit log can't be written: {error.strerror or error}",
                    file=self.backing.location,
                    hint=_GONE if error.errno == errno.ENOENT else _REPAIR,
                )
                raise self._failure from error
            finally:
                self._write_done.set()
                self._write_done = None

    def take_first(self, first: Iterable[tuple[str, dict[str, object]]]) -> Batch:
        """Put the first records into the chain, and return their batch; to be written before `settle`."""
        for event, fields in first:
            self.record(event, **fields)
        batch, self._waiting = self._waiting, []
        return batch

    def settle(self, batch: Batch) -> None:
        """Count a batch as durable, and call the observers with its records."""
        self._durable = batch[-1][0]["seq"]
        for record, _ in batch:
            for observer in self.observers:
                observer(record)

    def close(self) -> None:
        """Let the log go; records without a flush are lost. A second call does nothing."""
        self.backing.close()


def _lock_file(fd: int, path: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Lock the log against other processes; the system releases the lock when this process dies.

    A process that only checks for the lock, as `runs` does, holds the lock for a moment itself. So this function makes
    a few attempts.
    """
    for attempt in range(_LOCK_ATTEMPTS):
        if attempt:
            sleep(_LOCK_PAUSE)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    os.close(fd)
    hint = "wait for the end of that process, or stop the process first"
    raise RunHeldError("another process executes this run", file=path, hint=hint)


def _take_back(path: Path, fd: int) -> None:
    """Delete a log after a failed write of its first records, because its run never began."""
    with contextlib.suppress(OSError):
        path.unlink()
    os.close(fd)
