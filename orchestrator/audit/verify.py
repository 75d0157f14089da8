"""Read a log and give a verdict: whole, unfinished, torn, or altered.

A write that was cut off leaves a last line without a newline: the line is *torn*. The torn line stays in the file; the
following record (`run.resumed`, or a record about the finished run) names its line, length and SHA-256. Any other line
that can't be read, or does not continue the chain, makes the log *altered*.
A log is read line by line, and its records are passed on one after another, because a log may be larger than memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from orchestrator.audit.events import Event
from orchestrator.audit.fleet_log import FleetEvent
from orchestrator.audit.record import VERSION, Chain, Record, encode_canonical, hash_record
from orchestrator.errors import AlteredError

Take: TypeAlias = Callable[[Record], object]
"""Function called with each checked record, in order; the caller keeps no reference to the record."""

AFTER_FINISH = frozenset({Event.BILLING_RECONCILED, Event.RUN_SEALED})
"""The events that may follow `run.finished`."""

_AFTER_TEAR = frozenset({Event.RUN_RESUMED, FleetEvent.FLEET_RESUMED})
_FINISHES = frozenset({Event.RUN_FINISHED, FleetEvent.FLEET_FINISHED})


class Verdict(StrEnum):
    """Verdict on a log."""

    WHOLE = "whole"
    """Every record continues the chain, and the run has a `run.finished` record."""
    UNFINISHED = "unfinished"
    """Every record continues the chain, but the run did not finish."""
    TORN = "torn"
    """Every whole record continues the chain; the last line was cut off."""
    ALTERED = "altered"
    """A line differs from the written line."""


@dataclass(frozen=True, slots=True)
class Torn:
    """A torn line at the end of a log, or at the end before a later resume.

    Attributes:
        line: number of the first torn line.
        size: number of bytes.
        sha256: SHA-256 of these bytes, in hex.
    """

    line: int
    size: int
    sha256: str

    def document(self) -> dict[str, object]:
        """The `torn` field of `run.resumed`."""
        return {"line": self.line, "bytes": self.size, "sha256": self.sha256}


@dataclass(slots=True)
class Reading:
    """Result of reading a log.

    Attributes:
        verdict: verdict on the log.
        chain: end of the chain, for the next record.
        records: number of whole records.
        line: first wrong or torn line; None without such a line.
        reason: fault of that line.
        torn: the torn end of the log; None without a torn end.
        unterminated: whether the file ends without a newline.
        finished: whether the log has a `run.finished` record; a torn line after this record does not change that.
    """

    verdict: Verdict = Verdict.UNFINISHED
    chain: Chain = field(default_factory=lambda: Chain(""))
    records: int = 0
    line: int | None = None
    reason: str | None = None
    torn: Torn | None = None
    unterminated: bool = False
    finished: bool = False


class _AlteredError(Exception):
    """Raised within this module at the first altered line."""


def ignore_record(record: Record) -> None:
    """Ignore a record; for callers without use for the records."""


def read_log(path: Path, take: Take = ignore_record) -> Reading:
    """Read and check a log.

    Args:
        path: the file.
        take: called with each record before the first wrong line; if the log turns out to be altered, the caller must
            discard these records.

    Raises:
        OSError: when the file can't be read.
    """
    with path.open("rb") as file:
        return check_lines(file, take)


def check_lines(lines: Iterable[bytes], take: Take) -> Reading:
    """Check the lines of a log, with their newlines; a line is fetched after the line before was checked and taken."""
    reading, number = Reading(), 0
    pending: list[tuple[int, bytes]] = []  # torn if the next record says so; several lines if a resume was torn too
    for number, line in enumerate(lines, start=1):
        reading.unterminated = not line.endswith(b"\n")
        line = line.removesuffix(b"\n")  # noqa: PLW2901 - a line may be large, so only one copy is kept
        try:
            record = _parse_record(line)
            if pending:
                _check_torn(record, pending, AFTER_FINISH if reading.finished else _AFTER_TEAR)
            _follow_on(reading, record)
        except _AlteredError as error:
            if not _may_be_torn(line):
                return _mark_altered(reading, pending[0][0] if pending else number, str(error))
            pending.append((number, line))
        else:
            pending.clear()
            del line
            take(record)
            del record
    return _conclude_reading(reading, pending, number)


class RecordCheck:
    """Checks the records of a log in progress, one after another. For a log without torn lines."""

    def __init__(self) -> None:
        self._reading = Reading()

    def parse_line(self, line: bytes) -> Record:
        """Parse the next line of the log, and check its place in the chain.

        Raises:
            AlteredError: when the line was altered, or does not follow the line before.
        """
        try:
            record = _parse_record(line.removesuffix(b"\n"))
            _follow_on(self._reading, record)
        except _AlteredError as error:
            message = f"the log was altered at line {self._reading.records + 1}: {error}"
            raise AlteredError(message, hint="check the log with `orchestrator audit verify`") from None
        return record


def _may_be_torn(line: bytes) -> bool:
    """Return True if a line can be the beginning of a record; a complete JSON value can't."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _parse_record(line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise _AlteredError("it is not JSON") from None
    if not isinstance(record, dict):
        raise _AlteredError("it is not a record")
    try:
        written_as = hash_record(record)[1]
        if written_as != line:
            same = encode_canonical(record) == line
            raise _AlteredError("its content does not match its hash" if same else "it is not canonical JSON")
    except (ValueError, RecursionError):
        raise _AlteredError("it is not canonical JSON") from None
    return record


def _follow_on(reading: Reading, record: Record) -> None:
    chain = reading.chain
    if record.get("seq") != chain.seq + 1:
        raise _AlteredError(f"its seq is {record.get('seq')!r} where {chain.seq + 1} belongs")
    if record.get("prev") != chain.prev:
        raise _AlteredError("its prev is not the hash of the record before it")
    if record.get("v") != VERSION or not all(isinstance(record.get(key), str) for key in ("run_id", "event", "ts")):
        raise _AlteredError("a required field is missing")
    if reading.records and record["run_id"] != chain.run_id:
        raise _AlteredError("it belongs to another run")
    if reading.finished and record["event"] not in AFTER_FINISH:
        raise _AlteredError(f"{record['event']} can't follow the last record")
    chain.run_id, chain.seq, chain.prev, chain.ts = record["run_id"], record["seq"], record["hash"], record["ts"]
    reading.records += 1
    if record["event"] in _FINISHES:
        reading.verdict, reading.finished = Verdict.WHOLE, True


def _check_torn(record: Record, pending: list[tuple[int, bytes]], by: frozenset[str]) -> None:
    """Accept unreadable lines as torn only if the next record names exactly these lines as torn."""
    if record.get("event") not in by or record.get("torn") != _describe_torn(pending).document():
        raise _AlteredError("the line can't be read, and the next record does not name the line as torn")


def _describe_torn(pending: list[tuple[int, bytes]]) -> Torn:
    data = b"\n".join(line for _, line in pending)
    return Torn(pending[0][0], len(data), hashlib.sha256(data).hexdigest())


def _mark_altered(reading: Reading, line: int, reason: str) -> Reading:
    reading.verdict, reading.line, reading.reason = Verdict.ALTERED, line, reason
    return reading


def _conclude_reading(reading: Reading, pending: list[tuple[int, bytes]], last: int) -> Reading:
    if pending and not reading.unterminated:
        return _mark_altered(reading, pending[0][0], "it can't be read")
    if pending:
        reading.verdict, reading.torn = Verdict.TORN, _describe_torn(pending)
        reading.line, reading.reason = reading.torn.line, "it was cut off while it was written"
    elif reading.unterminated:
        reading.verdict, reading.line = Verdict.TORN, last
        reading.reason = "its newline is missing"
    return reading
