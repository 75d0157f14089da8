"""Reading a log and saying whether it is what was written: whole, unfinished, torn, or altered.

A write that was cut off leaves an unterminated last line: *torn*. It stays in the file; the record that follows
(`run.resumed`, or one about the finished run) names its line, length and SHA-256. Everything else that can't be read,
or does not follow on, is *altered*.
A log is read line by line, and its records are handed on one by one: it may be larger than memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

from orchestrator.audit.record import VERSION, Chain, Record, canonical, sealed

Take: TypeAlias = Callable[[Record], object]
"""What is done with each record; it comes in order, once it was checked, and is kept by nobody else."""

AFTER_FINISH = frozenset({"billing.reconciled", "run.sealed"})
"""The events that may follow `run.finished`."""

_AFTER_TEAR = frozenset({"run.resumed"})


class Verdict(StrEnum):
    """What a log is."""

    WHOLE = "whole"
    """Every record follows on, and the last word is `run.finished`."""
    UNFINISHED = "unfinished"
    """Every record follows on, but the run did not finish."""
    TORN = "torn"
    """Every whole record follows on; the last line was cut off."""
    ALTERED = "altered"
    """Some line is not what was written."""


@dataclass(frozen=True, slots=True)
class Torn:
    """What was cut off at the end of a log, or sealed there by a later resume.

    Attributes:
        line: the number of its first line.
        size: how many bytes.
        sha256: of those bytes, in hex.
    """

    line: int
    size: int
    sha256: str

    def document(self) -> dict[str, object]:
        """As `run.resumed` carries it."""
        return {"line": self.line, "bytes": self.size, "sha256": self.sha256}


@dataclass(slots=True)
class Reading:
    """What reading a log gave.

    Attributes:
        verdict: what the log is.
        chain: where it stands, for what is appended next.
        records: how many whole records it has.
        line: the first line that is wrong or torn; None when there is none.
        reason: what is wrong with that line.
        torn: what was cut off at the very end, if anything was.
        unterminated: whether the file does not end with a newline.
        finished: whether `run.finished` is there; what was torn after it takes nothing away from the run.
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
    """Raised within this module at the first line that is not what was written."""


def drop(record: Record) -> None:
    """What becomes of records that nobody asks for."""


def read_log(path: Path, take: Take = drop) -> Reading:
    """Read and check a log.

    Args:
        path: the file.
        take: called with each record, up to the first line that is wrong: when the log turns out to be altered, forget
            what was taken.

    Raises:
        OSError: when the file can't be read.
    """
    with path.open("rb") as file:
        return check_lines(file, take)


def check_log(data: bytes, take: Take = drop) -> Reading:
    """Check the bytes of a log."""
    return check_lines(BytesIO(data), take)


def check_lines(lines: Iterable[bytes], take: Take) -> Reading:
    """Check the lines of a log, with their newlines; the next is asked for once the last was checked and taken."""
    reading, number = Reading(), 0
    pending: list[tuple[int, bytes]] = []  # lines that are torn if what follows says so; several where a resume was too
    for number, line in enumerate(lines, start=1):
        reading.unterminated = not line.endswith(b"\n")
        line = line.removesuffix(b"\n")  # noqa: PLW2901 - a line may be large, and is held once
        try:
            record = _record(line)
            if pending:
                _check_torn(record, pending, AFTER_FINISH if reading.finished else _AFTER_TEAR)
            _follow_on(reading, record)
        except _AlteredError as error:
            if not _may_be_torn(line):
                return _altered(reading, pending[0][0] if pending else number, str(error))
            pending.append((number, line))
        else:
            pending.clear()
            del line
            take(record)
            del record
    return _conclude(reading, pending, number)


def _may_be_torn(line: bytes) -> bool:
    """Whether a line can be the beginning of a record: a complete JSON object is not, whatever is wrong with it."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return True
    return False


def _record(line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise _AlteredError("it is not JSON") from None
    if not isinstance(record, dict):
        raise _AlteredError("it is not a record")
    try:
        written_as = sealed(record)[1]
        if written_as != line:
            same = canonical(record) == line
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
        raise _AlteredError("it lacks a field that every record has")
    if reading.records and record["run_id"] != chain.run_id:
        raise _AlteredError("it belongs to another run")
    if reading.finished and record["event"] not in AFTER_FINISH:
        raise _AlteredError(f"{record['event']} can't follow run.finished")
    chain.run_id, chain.seq, chain.prev, chain.ts = record["run_id"], record["seq"], record["hash"], record["ts"]
    reading.records += 1
    if record["event"] == "run.finished":
        reading.verdict, reading.finished = Verdict.WHOLE, True


def _check_torn(record: Record, pending: list[tuple[int, bytes]], by: frozenset[str]) -> None:
    """A torn line is one only if the record right after it is by one who found and named it."""
    if record.get("event") not in by or record.get("torn") != _torn(pending).document():
        raise _AlteredError("it can't be read, and the next record does not name it as torn")


def _torn(pending: list[tuple[int, bytes]]) -> Torn:
    data = b"\n".join(line for _, line in pending)
    return Torn(pending[0][0], len(data), hashlib.sha256(data).hexdigest())


def _altered(reading: Reading, line: int, reason: str) -> Reading:
    reading.verdict, reading.line, reading.reason = Verdict.ALTERED, line, reason
    return reading


def _conclude(reading: Reading, pending: list[tuple[int, bytes]], last: int) -> Reading:
    if pending and not reading.unterminated:
        return _altered(reading, pending[0][0], "it can't be read")
    if pending:
        reading.verdict, reading.torn = Verdict.TORN, _torn(pending)
        reading.line, reading.reason = reading.torn.line, "it was cut off while it was written"
    elif reading.unterminated:
        reading.verdict, reading.line = Verdict.TORN, last
        reading.reason = "its newline is missing"
    return reading
