"""Pruning: choose the old logs to remove, and record each removed log in a file.

A log is removed only if it is unaltered, its run finished, and a seal covers the whole log. The last two conditions can
be waived. The age of a log counts from its last record, never from the times of the file system.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.audit.events import RUN_PRUNED, Event
from orchestrator.audit.fleet_store import PREFIX, is_fleet_id
from orchestrator.audit.record import Record, encode_canonical
from orchestrator.audit.seal_create import read_detached
from orchestrator.audit.seal_format import Covers
from orchestrator.audit.seal_verify import SealCheck, read_sealed
from orchestrator.audit.store import is_held, is_run_id, seal_file
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.state_files import open_or_create, sync_file, sync_folder, write_all
from orchestrator.times import parse_timestamp, timestamp

_ID_TIME = "%Y%m%dT%H%M%SZ"


class KeepReason(StrEnum):
    """Reasons to keep a log."""

    YOUNG = "younger than that"
    HELD = "held by another process"
    UNFINISHED = "not finished"
    UNSEALED = "not sealed to its end"
    ALTERED = "altered"
    FOREIGN = "no log of the run that its name says"
    CHANGED = "changed meanwhile"
    FLEET = "part of a fleet run with a log to keep"


@dataclass(frozen=True, slots=True)
class Found:
    """Facts about an old log.

    Attributes:
        path: the file.
        run_id: the run or fleet run, by the file's name.
        fleet: the fleet run of the run; None for any other log.
        ended_at: time of the last record; start of the run for a log without records.
        verdict: verdict on the log.
        finished: whether the run finished.
        covers: extent of the whole log; None if the log is altered.
        records: number of records.
        sealed: whether a seal covers the whole log.
        seal: the seal from the log or from the file beside the log, for the record; None without a seal.
        stamp: state of the file before the read.
        kept: reason to keep the log; None if the log may be removed.
    """

    path: Path
    run_id: str
    fleet: str | None
    ended_at: datetime
    verdict: Verdict
    finished: bool
    covers: Covers | None
    records: int
    sealed: bool
    seal: Mapping[str, object] | None
    stamp: tuple[int, ...]
    kept: KeepReason | None

    @property
    def size(self) -> int:
        """Size of the log in bytes, without the seal file beside the log."""
        return self.stamp[2]


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """Conditions for the removal of a log.

    Attributes:
        before: the last record must be older than this time.
        unsealed: whether to remove logs without a seal over the whole log too.
        unfinished: whether to remove logs of unfinished runs too.
        keys: public keys of the accepted seals, by id; without keys every seal counts, by any key.
    """

    before: datetime
    unsealed: bool = False
    unfinished: bool = False
    keys: Mapping[str, Ed25519PublicKey] | None = None


def inspect_log(path: Path, terms: PrunePolicy) -> Found:
    """Read a log and decide on its removal.

    Raises:
        OSError: when the log can't be read.
    """
    stamp = _read_stamp(path)
    seals: list[Record] = []
    last: list[str] = [""]
    fleets: list[str | None] = []

    def collect_record(record: Record) -> None:
        last[:] = [record["ts"], record["event"]]
        if record["event"] == Event.RUN_STARTED:
            fleets.append(record.get("fleet"))
        if record["event"] == Event.RUN_SEALED:
            seals[:] = [record]

    detached = read_detached(seal_file(path), asked=False)
    reading, check = read_sealed(path, terms.keys or {}, detached if terms.keys else (), collect_record)
    beside = next((each.seal for each in detached if each.seal and each.seal.covers == check.covers), None)
    if terms.keys:
        sealed = check.find_fault(reading) is None and not check.since
    else:
        sealed = last[-1] == Event.RUN_SEALED or beside is not None
    seal: Mapping[str, object] | None = None
    if seals:
        seal = {key: seals[0].get(key) for key in ("key_id", "sealed_at", "by", "covers", "signature")}
    elif beside is not None:
        seal = beside.record_fields()
    ended_at = _find_end(last[0], path.stem)
    sealed = sealed and reading.verdict is Verdict.WHOLE
    kept = _find_keep_reason(path, reading, check, ended_at, terms, sealed=sealed) or (
        KeepReason.HELD if is_held(path) else None
    )
    return Found(
        path=path,
        run_id=path.stem,
        fleet=fleets[0] if fleets else None,
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


def _find_keep_reason(
    path: Path, reading: Reading, check: SealCheck, ended_at: datetime, terms: PrunePolicy, *, sealed: bool
) -> KeepReason | None:
    if not is_run_id(path.stem.removeprefix(PREFIX)) or (reading.records and reading.chain.run_id != path.stem):
        return KeepReason.FOREIGN
    if reading.verdict is Verdict.ALTERED or check.broken is not None:
        return KeepReason.ALTERED
    if ended_at >= terms.before:
        return KeepReason.YOUNG
    if not reading.finished:
        return None if terms.unfinished else KeepReason.UNFINISHED
    return None if sealed or terms.unsealed else KeepReason.UNSEALED


def _find_end(ts: str, run_id: str) -> datetime:
    with suppress(ValueError):
        return parse_timestamp(ts)
    with suppress(ValueError):
        return datetime.strptime(run_id.removeprefix(PREFIX).partition("-")[0], _ID_TIME).replace(tzinfo=UTC)
    return datetime.max.replace(tzinfo=UTC)


def _read_stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def keep_fleets_whole(found: Iterable[Found]) -> list[Found]:
    """Keep the logs of a fleet run together: all of them may be removed, or none; fleet logs come after their runs."""
    logs = sorted(found, key=lambda each: is_fleet_id(each.run_id))
    existing = {each.run_id for each in logs if is_fleet_id(each.run_id)}
    to_keep = {each.fleet or each.run_id for each in logs if each.kept is not None} & existing
    return [
        replace(each, kept=KeepReason.FLEET) if each.kept is None and (each.fleet or each.run_id) in to_keep else each
        for each in logs
    ]


def remove_logs(
    found: Iterable[Found], record: Path, *, by: str, at: datetime
) -> Iterator[tuple[Found, KeepReason | None]]:
    """Remove logs one after another, and record every removal before its log is deleted.

    A log is kept if another process holds the log, or if the log has changed since the read; then the log of its fleet
    run is kept too.

    Args:
        found: the logs to remove; a fleet log after the logs of its runs.
        record: the file of removals, with one line per log.
        by: user@host.
        at: the time of day.

    Yields:
        each log with None if the log was removed, or with the reason to keep the log.

    Raises:
        OSError: when the record can't be written, or a log can't be removed; the remaining logs stay.
    """
    fd = open_or_create(record, os.O_RDWR | os.O_APPEND)
    try:
        sync_folder(record.parent)
        to_keep: set[str | None] = set()
        for each in found:
            why = KeepReason.FLEET if each.run_id in to_keep else _remove_log(each, fd, by=by, at=at)
            if why is not None:
                to_keep.add(each.fleet)
            yield each, why
    finally:
        os.close(fd)


def _remove_log(found: Found, record: int, *, by: str, at: datetime) -> KeepReason | None:
    try:
        held = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return KeepReason.CHANGED
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return KeepReason.HELD
        if _read_stamp(found.path) != found.stamp:
            return KeepReason.CHANGED
        _write_down(found, record, by=by, at=at)
        # Still locked: no process can have continued the run.
        found.path.unlink()
    finally:
        os.close(held)
    seal_file(found.path).unlink(missing_ok=True)
    sync_folder(found.path.parent)
    return None


def _write_down(found: Found, record: int, *, by: str, at: datetime) -> None:
    """Write a durable line about a log before its removal; end a torn line of an earlier write first."""
    covers = found.covers
    line = encode_canonical(
        {
            "v": 1,
            "ts": timestamp(at),
            "event": RUN_PRUNED,
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
