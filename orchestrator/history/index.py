"""An index over the logs in one file, to avoid reading years of logs again.

The index is never the truth. An entry is valid for a single state of a single file, down to the change time of its
inode; in any other case the log is read. The logs give the same facts, only later, if a row was altered, or the file is
no index, is locked, has another version or can't be written.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from orchestrator import __version__
from orchestrator.audit.store import LogVersion
from orchestrator.history.entry import Entry
from orchestrator.state_files import open_or_create

_T = TypeVar("_T")

_FORMAT = 7
"""Raise this number when the entry of the same log changes."""
_NEW_NS = 2_000_000_000
"""A file changed more recently than this may change again without a visible difference in its times."""
_AT_ONCE = 250
"""Entries per write."""
_SCHEMA = "CREATE TABLE entry (name TEXT PRIMARY KEY, stamp TEXT, row TEXT, power TEXT, lists BLOB, digest BLOB)"
_MADE_BY = f"{_FORMAT} {__version__}"
_LEFT_ALONE = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL),
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH),
    }
)
"""Errors outside the file itself: the next command may be able to use the file."""


class Index:
    """The index of a state folder. Never raises because of its file; close the index at the end.

    Attributes:
        path: path of the index file.
    """

    def __init__(self, state_dir: Path, *, patience: float = 0.5, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Open the index, or replace an unusable file.

        Args:
            state_dir: folder of the index.
            patience: seconds to wait for another command's write.
            now_ns: the wall clock.
        """
        self._now_ns = now_ns
        self.path = state_dir.expanduser() / "history.sqlite3"
        self._patience = patience
        self._new: dict[str, tuple[str, Entry]] = {}
        self._file: sqlite3.Connection | None = None
        self._open_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def row(self, name: str, stamp: str) -> dict[str, Any] | None:
        """Return the row of a log in this state, if the index has an entry."""
        found = self._find_entry(name, stamp)
        return None if found is None else json.loads(found[0])

    def entry(self, name: str, stamp: str) -> Entry | None:
        """Return the whole entry of a log in this state, if the index has an entry."""
        found = self._find_entry(name, stamp)
        return None if found is None else Entry(json.loads(found[0]), json.loads(found[1]), found[2])

    def keep(self, name: str, version: LogVersion, entry: Entry) -> None:
        """Store the entry of a log, unless the log changed too recently to detect another change."""
        if self._now_ns() - version.changed_ns < _NEW_NS or self._file is None:
            return
        self._new[name] = (version.stamp, entry)
        if len(self._new) >= _AT_ONCE:
            self._write_entries()

    def delete_missing(self, names: Iterable[str]) -> None:
        """Delete the entries of missing logs."""
        there = set(map(_plain_name, names))

        def forget(file: sqlite3.Connection) -> None:
            left = [(name,) for (name,) in file.execute("SELECT name FROM entry") if name not in there]
            if left:
                with file:
                    file.executemany("DELETE FROM entry WHERE name = ?", left)

        self._run_query(forget)

    def close(self) -> None:
        """Write new entries, and close the file."""
        self._write_entries()
        self._do_without()

    def _find_entry(self, name: str, stamp: str) -> tuple[str, str, bytes] | None:
        wanted = "SELECT row, power, lists, digest FROM entry WHERE name = ? AND stamp = ?"
        plain = _plain_name(name)
        found = self._run_query(lambda file: file.execute(wanted, (plain, stamp)).fetchone())
        if found is None or not all(map(isinstance, found, (str, str, bytes, bytes))):
            return None
        row, power, lists, digest = found
        return (row, power, lists) if digest == _compute_digest(plain, stamp, row, power, lists) else None

    def _write_entries(self) -> None:
        if not self._new:
            return
        written = []
        for name, (stamp, entry) in self._new.items():
            parts = (_plain_name(name), stamp, json.dumps(entry.row), json.dumps(entry.power), entry.lists)
            written.append((*parts, _compute_digest(*parts)))
        self._new.clear()

        def write(file: sqlite3.Connection) -> None:
            with file:
                file.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?, ?)", written)

        self._run_query(write)

    def _open_file(self) -> None:
        """Open the file; replace a file of another version, or a file without an index."""
        try:
            self._connect_file()
        except sqlite3.Error as error:
            self._handle_error(error)
            return
        made_by = self._run_query(lambda file: file.execute("SELECT made_by FROM maker").fetchone())
        if self._file is not None and made_by != (_MADE_BY,):
            self._make_anew()

    def _connect_file(self) -> None:
        with suppress(OSError):
            os.close(open_or_create(self.path, os.O_RDWR))
        # `mode=rw`: the database never creates a file itself, such as the target of a link.
        self._file = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", timeout=self._patience, uri=True)
        # A crash may destroy the index, and the index is then replaced: no wait for the disk, and no second file.
        self._file.execute("PRAGMA journal_mode = MEMORY")
        self._file.execute("PRAGMA synchronous = OFF")

    def _run_query(self, ask: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """Run a query on a usable index."""
        if self._file is None:
            return None
        try:
            return ask(self._file)
        except sqlite3.Error as error:
            self._handle_error(error)
            return None

    def _handle_error(self, error: sqlite3.Error) -> None:
        """Ignore a locked or read-only index; replace a broken index."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _LEFT_ALONE:
            self._do_without()
        else:
            self._make_anew()

    def _make_anew(self) -> None:
        """Replace an unusable index; continue without an index if a replacement is impossible."""
        self._do_without()
        try:
            self.path.unlink(missing_ok=True)
            self._connect_file()
            assert self._file is not None  # noqa: S101 - it was just opened
            with self._file as file:
                file.execute("BEGIN IMMEDIATE")
                file.execute("CREATE TABLE maker (made_by TEXT)")
                file.execute(_SCHEMA)
                file.execute("INSERT INTO maker VALUES (?)", (_MADE_BY,))
        except (sqlite3.Error, OSError):
            self._do_without()

    def _do_without(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error), closing(self._file) as file:
                file.rollback()
        self._file = None


def _plain_name(name: str) -> str:
    """Return a file's name as text for any database."""
    return name.encode("ascii", "backslashreplace").decode("ascii")


def _compute_digest(name: str, stamp: str, row: str, power: str, lists: bytes) -> bytes:
    """Compute the digest of a row, to detect altered rows."""
    return hashlib.blake2b(f"{name}\0{stamp}\0{row}\0{power}\0".encode() + lists, digest_size=16).digest()
