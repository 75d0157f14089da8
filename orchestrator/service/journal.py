"""The service's journal: what it decided, durable before it acts on it. One service has it at a time.

It is JSON Lines, appended and synced. From time to time, and whenever the service starts, it is replaced by one line
that says the same, so that it does not grow without bound. What was carried out stands in the audit logs of the runs.
"""

import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio

from orchestrator.audit.log import Sync, in_thread, sync_file
from orchestrator.errors import RunHeldError, SettingsError
from orchestrator.moment import timestamp, utc_now
from orchestrator.service.service_state import ServiceState
from orchestrator.state_files import create_file, make_folder, open_or_create, sync_folder, write_all

FOLDER = "service"
"""Where the service keeps its state, below the state folder."""
_VERSION = 1
_FILE, _LOCK = "journal.jsonl", "lock"
_LINES = 2000
"""So many lines are added before the journal is replaced by one that says the same."""


class Journal:
    """The journal, open for appending and locked against every other service.

    Attributes:
        memory: what it says; what could not be written is not in it.
        failure: why the last write failed; None when it did not.
    """

    def __init__(
        self,
        folder: Path,
        lock: int,
        memory: ServiceState,
        *,
        wall: Callable[[], datetime] = utc_now,
        sync: Sync = in_thread,
    ) -> None:
        """Set up; `open_journal` opens one."""
        self.memory = memory
        self.failure: str | None = None
        self._path = folder / _FILE
        self._lock, self._wall, self._sync = lock, wall, sync
        self._fd: int | None = None
        self._size = self._lines = 0
        self._turn = anyio.Lock()

    @classmethod
    def open(cls, state_dir: Path, *, wall: Callable[[], datetime] = utc_now, sync: Sync = in_thread) -> Self:
        """Take the journal of a state folder over, from where it ends.

        Raises:
            RunHeldError: when another service has it.
            SettingsError: when it can't be used.
        """
        folder = state_dir.expanduser() / FOLDER
        lock = None
        try:
            make_folder(folder)
            lock = _locked(folder / _LOCK)
            journal = cls(folder, lock, read_memory(state_dir), wall=wall, sync=sync)
            journal._replace()
        except OSError as error:
            if lock is not None:
                os.close(lock)
            raise SettingsError(
                f"the service's journal can't be used: {error.strerror or error}",
                file=folder,
                hint="set ORCHESTRATOR_STATE_DIR to a folder of yours",
            ) from error
        except SettingsError:
            if lock is not None:
                os.close(lock)
            raise
        return journal

    async def write(self, event: str, **fields: object) -> None:
        """Return once this is on disk.

        Raises:
            OSError: when it can't be written; nothing may be done for which it would speak.
        """
        async with self._turn:
            record = {"v": _VERSION, "ts": timestamp(self._wall()), "event": event, **fields}
            try:
                # Shielded: what was handed to the disk has an end that must be known.
                with anyio.CancelScope(shield=True):
                    await self._sync(partial(self._append, _line(record)))
            except OSError as error:
                self.failure = error.strerror or str(error)
                raise
            self.failure = None
            self.memory.apply(record)
            if self._lines >= _LINES:
                # The old one is as good as the new one.
                with suppress(OSError):
                    await self._sync(self._replace)

    def close(self) -> None:
        """Let go of it. Closing twice is fine."""
        for fd in (self._fd, self._lock):
            if fd is not None:
                with suppress(OSError):
                    os.close(fd)
        self._fd = None
        self._lock = -1

    def _append(self, line: bytes) -> None:
        if self._fd is None:
            raise OSError(os.strerror(9))
        # What an earlier write left half done goes first.
        os.ftruncate(self._fd, self._size)
        write_all(self._fd, line)
        sync_file(self._fd)
        self._size += len(line)
        self._lines += 1

    def _replace(self) -> None:
        """Put a journal of one line in the place of this one."""
        now = self._wall()
        line = _line({"v": _VERSION, "ts": timestamp(now), "event": "snapshot", **self.memory.snapshot(now)})
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


def read_memory(state_dir: Path) -> ServiceState:
    """What the journal of a state folder says, whoever has it; nothing where there is none.

    Raises:
        SettingsError: when it is not what a service wrote.
        OSError: when it can't be read.
    """
    path = state_dir.expanduser() / FOLDER / _FILE
    memory = ServiceState()
    try:
        *lines, _torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return memory
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if record["v"] > _VERSION:
                hint = "run the version that wrote it, or a later one"
                raise SettingsError("a later version wrote the service's journal", file=path, line=number, hint=hint)
            memory.apply(record)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SettingsError(
                "the service's journal is not what a service wrote",
                file=path,
                line=number,
                hint="move it away: every schedule is then taken as just enabled; first see `orchestrator runs "
                "--unfinished`",
            ) from error
    return memory


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode("ascii") + b"\n"


def _locked(path: Path) -> int:
    fd = open_or_create(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        hint = "one service a state folder: stop the other one, or give this one an ORCHESTRATOR_STATE_DIR of its own"
        raise RunHeldError("another `orchestrator serve` has this state folder", file=path.parent, hint=hint) from None
    return fd
