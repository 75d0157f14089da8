"""Mirror of a log of the team store: the exact lines in a file of this machine, brought up to date before each read."""

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from orchestrator.audit.record import GENESIS
from orchestrator.errors import AlteredError, SettingsError
from orchestrator.state_files import make_folder, open_or_create

_TAIL = 4096
"""Bytes at the end of a mirror: more than most records."""
_CHUNK = 1 << 20


class MirrorEndError(SettingsError):
    """Raised when a mirror ends otherwise than the log in the store."""


class LogEnd(NamedTuple):
    """The last record of a log: its number and its hash."""

    seq: int
    head: str


class LogSource(Protocol):
    """The log in the store."""

    def read_end(self) -> LogEnd:
        """Read the number and the hash of the last record."""
        ...

    def read_lines(self, after: int) -> Sequence[tuple[int, bytes]]:
        """Read some of the lines after a record, with their numbers."""
        ...

    def hash_lines(self, last: int) -> str:
        """Return the SHA-256 of all lines up to a record."""
        ...


def update_mirror(path: Path, end: LogEnd, source: LogSource, *, compare: bool = False) -> None:
    """Append the missing lines to a mirror. Several processes may do so at once.

    Args:
        path: the file; may be missing.
        end: the last record in the store, as read a moment ago.
        source: the log in the store.
        compare: whether to compare every byte with the store.

    Raises:
        MirrorEndError: when the file ends otherwise than the log in the store.
        SettingsError: when the file can't be written.
        AlteredError: when the bytes differ.
    """
    try:
        with closing(os.fdopen(_open(path), "r+b")) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            seq = _append_missing(file, path, end, source)
            if compare and _hash_file(file) != source.hash_lines(seq):
                raise AlteredError(
                    "the mirror and the log in the store differ: one of the two was altered",
                    file=path,
                    hint="move the mirror away, then verify again: this checks the bytes of the store alone",
                )
    except OSError as error:
        raise SettingsError(
            f"the mirror of the log can't be written: {error.strerror or error}",
            file=path,
            hint="set ORCHESTRATOR_STATE_DIR to a folder of yours",
        ) from error


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        make_folder(path.parent)
        return open_or_create(path, os.O_RDWR)


def _append_missing(file: BinaryIO, path: Path, end: LogEnd, source: LogSource) -> int:
    """Append the missing lines; return the number of the last record."""
    have = _find_end(file, path)
    if have.seq > end.seq:  # another process was quicker
        end = source.read_end()
    if have.seq > end.seq or (have.seq == end.seq and have.head != end.head):
        raise _explain_difference(path)
    seq = have.seq
    while seq < end.seq:
        rows = source.read_lines(seq)
        if not rows:
            raise _explain_difference(path)
        file.write(b"".join(line for _, line in rows))
        seq = rows[-1][0]
    file.flush()
    return seq


def _find_end(file: BinaryIO, path: Path) -> LogEnd:
    """Find the last record, and set the position after its line; a line cut off by the end of a process is removed."""
    size = file.seek(0, os.SEEK_END)
    tail, begin = b"", size
    while begin > 0 and tail.rstrip(b"\n").count(b"\n") == 0:
        length = min(_TAIL, begin)
        begin -= length
        file.seek(begin)
        tail = file.read(length) + tail
    whole = tail[: tail.rfind(b"\n") + 1]
    if whole != tail:
        file.truncate(size - len(tail) + len(whole))
    file.seek(0, os.SEEK_END)
    if not whole:
        return LogEnd(0, GENESIS)
    try:
        record = json.loads(whole.splitlines()[-1])
        return LogEnd(int(record["seq"]), str(record["hash"]))
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _explain_difference(path) from None


def _hash_file(file: BinaryIO) -> str:
    sha256 = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()


def _explain_difference(path: Path) -> MirrorEndError:
    return MirrorEndError(
        "the mirror ends otherwise than the log in the store",
        file=path,
        hint="was the file changed, or did a failover of the database lose records? move the file away, then try again",
    )
