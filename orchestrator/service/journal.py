"""The service's journal: every decision, on disk before the service acts. One service at a time has the journal.

The journal is JSON Lines, appended and synced. A snapshot of one line replaces the journal at each start, and after
2,000 lines, to bound its size. The audit logs of the runs record the requests.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from orchestrator.audit.log import Sync, in_thread
from orchestrator.errors import RunHeldError, SettingsError
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.service_state import NEWEST_VERSION, ServiceState, find_version
from orchestrator.state_files import create_file, make_folder, open_or_create, sync_file, sync_folder, write_all
from orchestrator.times import timestamp, utc_now

FOLDER = "service"
"""Name of the service's folder in the state folder."""
_FILE, _LOCK = "journal.jsonl", "lock"
_LINES = 2000
"""Number of lines before a snapshot replaces the journal."""


class FileJournal:
    """The journal file, open for appending and locked against other services, as `Journal`.

    Attributes:
        state: the state after all written records.
        failure: reason of a failed last write; None after a successful write.
    """

    def __init__(self, path: Path, lock: int, state: ServiceState, *, wall: Callable[[], datetime], sync: Sync) -> None:
        """Write a snapshot of the state, and continue from there; use `FileJournalStore.open_journal` instead.

        Raises:
            OSError: when the snapshot can't be written.
        """
        self.state = state
        self.failure: str | None = None
        self._path, self._lock, self._wall, self._sync = path, lock, wall, sync
        self._fd: int | None = None
        self._size = self._lines = 0
        self._turn = anyio.Lock()
        self._write_snapshot()

    async def write(self, event: str, **fields: object) -> None:
        """Append a record; returns once the record is on disk.

        Raises:
            OSError: when the record can't be written; the caller must not act on the decision then.
        """
        async with self._turn:
            record = {"v": find_version(event), "ts": timestamp(self._wall()), "event": event, **fields}
            try:
                # Shielded: the result of a started write must be known.
                with anyio.CancelScope(shield=True):
                    await self._sync(partial(self._append_line, _format_line(record)))
            except OSError as error:
                self.failure = error.strerror or str(error)
                raise
            self.failure = None
            self.state.apply(record)
            if self._lines >= _LINES:
                # After a failure the old journal stays valid.
                with suppress(OSError):
                    await self._sync(self._write_snapshot)

    async def write_claim(self, claim: FiringClaim, loaded: LoadedPlaybook | None) -> None:  # noqa: ARG002 - the run starts in this process
        """Append the claim of a firing, as `Journal.write_claim`."""
        await self.write("firing.claimed", **claim.record_fields())

    def close(self) -> None:
        """Close and unlock the journal. A second call does nothing."""
        for fd in (self._fd, self._lock):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self._fd = None
        self._lock = -1

    def _append_line(self, line: bytes) -> None:
        if self._fd is None:
            raise OSError(os.strerror(9))
        # Remove the rest of an earlier failed write.
        os.ftruncate(self._fd, self._size)
        write_all(self._fd, line)
        sync_file(self._fd)
        self._size += len(line)
        self._lines += 1

    def _write_snapshot(self) -> None:
        """Replace the journal by a one-line snapshot."""
        now = self._wall()
        line = _format_line({"v": 1, "ts": timestamp(now), "event": "snapshot", **self.state.snapshot(now)})
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        fd = create_file(new, os.O_WRONLY | os.O_APPEND)
        try:
            write_all(fd, line)
            sync_file(fd)
            new.replace(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            os.close(fd)
            raise
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._size, self._lines = fd, len(line), 1


class FileJournalStore:
    """The journal in the service's folder of a state folder, as `JournalStore`."""

    def __init__(self, state_dir: Path, *, wall: Callable[[], datetime] = utc_now, sync: Sync = in_thread) -> None:
        """Set up.

        Args:
            state_dir: the state folder.
            wall: the time of day.
            sync: runs a blocking write.
        """
        self._folder = state_dir.expanduser() / FOLDER
        self._wall, self._sync = wall, sync

    def open_journal(self) -> FileJournal:
        """Lock and open the journal, as `JournalStore.open_journal`."""
        lock = None
        try:
            make_folder(self._folder)
            lock = _lock_folder(self._folder / _LOCK)
            return FileJournal(self._folder / _FILE, lock, self.read_state(), wall=self._wall, sync=self._sync)
        except OSError as error:
            if lock is not None:
                os.close(lock)
            raise _explain_folder(self._folder, error) from error
        except SettingsError:
            if lock is not None:
                os.close(lock)
            raise

    def read_state(self) -> ServiceState:
        """Read the state from the journal, as `JournalStore.read_state`."""
        path, state = self._folder / _FILE, ServiceState()
        try:
            *lines, _torn = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return state
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if record["v"] > NEWEST_VERSION:
                    message = "the service's journal is from a later version of orchestrator"
                    raise SettingsError(message, file=path, line=number, hint="use that version or a later version")
                state.apply(record)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise SettingsError(
                    "the service's journal is damaged",
                    file=path,
                    line=number,
                    hint="check `orchestrator runs --unfinished`, then move the journal away; all schedules then count "
                    "as newly enabled",
                ) from error
        return state


@contextmanager
def lock_service(state_dir: Path) -> Iterator[None]:
    """Lock the service's folder within the block, against other services of this machine.

    Raises:
        RunHeldError: when another service uses the folder.
        SettingsError: when the folder can't be used.
    """
    folder = state_dir.expanduser() / FOLDER
    try:
        make_folder(folder)
        lock = _lock_folder(folder / _LOCK)
    except OSError as error:
        raise _explain_folder(folder, error) from error
    try:
        yield
    finally:
        os.close(lock)


def _explain_folder(folder: Path, error: OSError) -> SettingsError:
    hint = "set ORCHESTRATOR_STATE_DIR to a folder of your own"
    return SettingsError(f"the service's journal can't be used: {error.strerror or error}", file=folder, hint=hint)


def _format_line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _lock_folder(path: Path) -> int:
    fd = open_or_create(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        hint = "stop the other service, or set another ORCHESTRATOR_STATE_DIR for this service"
        raise RunHeldError("another `orchestrator serve` uses this state folder", file=path.parent, hint=hint) from None
    return fd
