"""Removing old logs: which may go, and removing them so that it stays on record that they were there.

A log goes only if it is what was written, its run finished, and a seal covers all of it; the last two can be waived.
Its age counts from its last record, never from what the file system says.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.audit.log import sync_file
from orchestrator.audit.record import Record, canonical
from orchestrator.audit.seal_create import read_detached
from orchestrator.audit.seal_format import Covers
from orchestrator.audit.seal_verify import SealCheck, read_sealed
from orchestrator.audit.store import is_held, is_run_id, seal_file
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.state_files import open_or_create, sync_folder, write_all

_ID_TIME = "%Y%m%dT%H%M%SZ"


class Kept(StrEnum):
    """Why a log is kept."""

    YOUNG = "younger than that"
    HELD = "held by another process"
    UNFINISHED = "not finished"
    UNSEALED = "not sealed to its end"
    ALTERED = "altered"
    FOREIGN = "no log of the run that its name says"
    CHANGED = "changed meanwhile"


@dataclass(frozen=True, slots=True)
class Found:
    """An old log, and what is known of it.

    Attributes:
        path: the file.
        run_id: the run, by the file's name.
        ended_at: the time of its last record; of a log without one, when the run began.
        verdict: what the log is.
        finished: whether its run did.
        covers: all of it; None when it is altered.
        records: how many records it has.
        sealed: whether a seal covers all of it.
        seal: the seal as it stands in the log or beside it, for the record; None when there is none.
        stamp: what the file's state was when it was read.
        kept: why it is kept; None when it may go.
    """

    path: Path
    run_id: str
    ended_at: datetime
    verdict: Verdict
    finished: bool
    covers: Covers | None
    records: int
    sealed: bool
    seal: Mapping[str, object] | None
    stamp: tuple[int, ...]
    kept: Kept | None

    @property
    def size(self) -> int:
        """In bytes, without what lies beside it."""
        return self.stamp[2]


@dataclass(frozen=True, slots=True)
class Terms:
    """What may go.

    Attributes:
        before: whose last record is older than this.
        unsealed: also what no seal covers.
        unfinished: also what did not finish.
        keys: the public keys whose seals count, by id; empty for any seal, whoever made it.
    """

    before: datetime
    unsealed: bool = False
    unfinished: bool = False
    keys: Mapping[str, Ed25519PublicKey] | None = None


def look(path: Path, terms: Terms) -> Found:
    """Read a log, and say whether it may go.

    Raises:
        OSError: when it can't be read.
    """
    stamp = _stamp(path)
    seals: list[Record] = []
    last: list[str] = [""]

    def take(record: Record) -> None:
        last[:] = [record["ts"], record["event"]]
        if record["event"] == "run.sealed":
            seals[:] = [record]

    detached = read_detached(seal_file(path), asked=False)
    reading, check = read_sealed(path, terms.keys or {}, detached if terms.keys else (), take)
    beside = next((each.seal for each in detached if each.seal and each.seal.covers == check.covers), None)
    if terms.keys:
        sealed = check.fault(reading) is None and not check.since
    else:
        sealed = last[-1] == "run.sealed" or beside is not None
    seal: Mapping[str, object] | None = None
    if seals:
        seal = {key: seals[0].get(key) for key in ("key_id", "sealed_at", "by", "covers", "signature")}
    elif beside is not None:
        seal = beside.fields()
    ended_at = _ended(last[0], path.stem)
    sealed = sealed and reading.verdict is Verdict.WHOLE
    kept = _kept(path, reading, check, ended_at, terms, sealed=sealed) or (Kept.HELD if is_held(path) else None)
    return Found(
        path=path,
        run_id=path.stem,
        ended_at=ended_at,
        verdict=reading.verdict,
        finished=reading.finished,
        covers=check.covers,
        records=reading.records,
        sealed=sealed,
        seal=seal,
        stamp=stamp,
        kept=kept,
    )


def _kept(
    path: Path, reading: Reading, check: SealCheck, ended_at: datetime, terms: Terms, *, sealed: bool
) -> Kept | None:
    if not is_run_id(path.stem) or (reading.records and reading.chain.run_id != path.stem):
        return Kept.FOREIGN
    if reading.verdict is Verdict.ALTERED or check.broken is not None:
        return Kept.ALTERED
    if ended_at >= terms.before:
        return Kept.YOUNG
    if not reading.finished:
        return None if terms.unfinished else Kept.UNFINISHED
    return None if sealed or terms.unsealed else Kept.UNSEALED


def _ended(ts: str, run_id: str) -> datetime:
    with suppress(ValueError):
        return parse_timestamp(ts)
    with suppress(ValueError):
        return datetime.strptime(run_id.partition("-")[0], _ID_TIME).replace(tzinfo=UTC)
    return datetime.max.replace(tzinfo=UTC)


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def prune(found: Iterable[Found], record: Path, *, by: str, at: datetime) -> Iterator[tuple[Found, Kept | None]]:
    """Remove logs, one by one: each is on record before it goes. What is held, or changed since, is kept.

    Args:
        found: those that may go.
        record: the file in which it is recorded, a line each.
        by: user@host.
        at: the time of day.

    Yields:
        each with None when it is gone, or why it was kept.

    Raises:
        OSError: when the record can't be written, or a log can't be removed; the others stay.
    """
    fd = open_or_create(record, os.O_RDWR | os.O_APPEND)
    try:
        sync_folder(record.parent)
        for each in found:
            yield each, _remove(each, fd, by=by, at=at)
    finally:
        os.close(fd)


def _remove(found: Found, record: int, *, by: str, at: datetime) -> Kept | None:
    try:
        held = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Kept.CHANGED
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Kept.HELD
        if _stamp(found.path) != found.stamp:
            return Kept.CHANGED
        _write_down(found, record, by=by, at=at)
        # Still locked: nobody can have begun to go on with it.
        found.path.unlink()
    finally:
        os.close(held)
    seal_file(found.path).unlink(missing_ok=True)
    sync_folder(found.path.parent)
    return None


def _write_down(found: Found, record: int, *, by: str, at: datetime) -> None:
    """One line about what is to be removed, durable before it is. A line that was cut off before it is ended."""
    covers = found.covers
    line = canonical(
        {
            "v": 1,
            "ts": timestamp(at),
            "event": "run.pruned",
            "run_id": found.run_id,
            "by": by,
            "ended_at": timestamp(found.ended_at),
            "verdict": found.verdict.value,
            "records": found.records,
            "bytes": found.size,
            "digest": covers.hash if covers and found.records else None,
            "sha256": covers.sha256 if covers else None,
            "seal": found.seal,
        }
    )
    fcntl.flock(record, fcntl.LOCK_EX)
    try:
        size = os.fstat(record).st_size
        torn = size > 0 and os.pread(record, 1, size - 1) != b"\n"
        write_all(record, b"\n" * torn + line + b"\n")
        sync_file(record)
    finally:
        fcntl.flock(record, fcntl.LOCK_UN)
