"""Reading a log and saying whether it is what was written: whole, unfinished, torn, or altered.

A write that was cut off leaves an unterminated last line: *torn*. It stays in the file; the `run.resumed` record that
follows names its line, length and SHA-256. Everything else that can't be read, or does not follow on, is *altered*.
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.audit.record import GENESIS, VERSION, Chain, Record, canonical, digest

AFTER_FINISH = frozenset({"billing.reconciled", "run.sealed"})
"""The events that may follow `run.finished`."""


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
        records: every whole record, in order.
        line: the first line that is wrong or torn; None when there is none.
        reason: what is wrong with that line.
        torn: what was cut off at the very end, if anything was.
        unterminated: whether the file does not end with a newline.
    """

    verdict: Verdict
    chain: Chain
    records: list[Record]
    line: int | None = None
    reason: str | None = None
    torn: Torn | None = None
    unterminated: bool = False


class _AlteredError(Exception):
    """Raised within this module at the first line that is not what was written."""


def read_log(path: Path) -> Reading:
    """Read and check a log.

    Raises:
        OSError: when the file can't be read.
    """
    return check_log(path.read_bytes())


def check_log(data: bytes) -> Reading:
    """Check the bytes of a log."""
    lines = data.split(b"\n")
    unterminated = lines[-1] != b""
    if not unterminated:
        lines.pop()
    reading = Reading(Verdict.UNFINISHED, Chain(""), [], unterminated=unterminated)
    pending: list[tuple[int, bytes]] = []  # lines that are torn if what follows says so; several where a resume was too
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line)
            if pending:
                _check_torn(record, pending)
            _follow_on(reading, record)
        except _AlteredError as error:
            if not _may_be_torn(line):
                return _altered(reading, pending[0][0] if pending else number, str(error))
            pending.append((number, line))
        else:
            pending.clear()
            reading.records.append(record)
    return _conclude(reading, pending)


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
        if canonical(record) != line:
            raise _AlteredError("it is not canonical JSON")
        if record.get("hash") != digest(record):
            raise _AlteredError("its content does not match its hash")
    except (ValueError, RecursionError):
        raise _AlteredError("it is not canonical JSON") from None
    return record


def _follow_on(reading: Reading, record: Record) -> None:
    chain = reading.chain
    if record.get("seq") != chain.seq + 1:
        raise _AlteredError(f"its seq is {record.get('seq')!r} where {chain.seq + 1} belongs")
    if record.get("prev") != (chain.prev if reading.records else GENESIS):
        raise _AlteredError("its prev is not the hash of the record before it")
    if record.get("v") != VERSION or not all(isinstance(record.get(key), str) for key in ("run_id", "event", "ts")):
        raise _AlteredError("it lacks a field that every record has")
    if reading.records and record["run_id"] != chain.run_id:
        raise _AlteredError("it belongs to another run")
    if reading.verdict is Verdict.WHOLE and record["event"] not in AFTER_FINISH:
        raise _AlteredError(f"{record['event']} can't follow run.finished")
    reading.chain = Chain(record["run_id"], record["seq"], record["hash"], record["ts"])
    if record["event"] == "run.finished":
        reading.verdict = Verdict.WHOLE


def _check_torn(record: Record, pending: list[tuple[int, bytes]]) -> None:
    """A torn line is one only if the record right after it is the resume that found and named it."""
    if record.get("event") != "run.resumed" or record.get("torn") != _torn(pending).document():
        raise _AlteredError("it can't be read, and the next record does not name it as torn")


def _torn(pending: list[tuple[int, bytes]]) -> Torn:
    data = b"\n".join(line for _, line in pending)
    return Torn(pending[0][0], len(data), hashlib.sha256(data).hexdigest())


def _altered(reading: Reading, line: int, reason: str) -> Reading:
    reading.verdict, reading.line, reading.reason = Verdict.ALTERED, line, reason
    return reading


def _conclude(reading: Reading, pending: list[tuple[int, bytes]]) -> Reading:
    if pending and not reading.unterminated:
        return _altered(reading, pending[0][0], "it can't be read")
    if pending:
        reading.verdict, reading.torn = Verdict.TORN, _torn(pending)
        reading.line, reading.reason = reading.torn.line, "it was cut off while it was written"
    elif reading.unterminated:
        reading.verdict, reading.line = Verdict.TORN, len(reading.records)
        reading.reason = "its newline is missing"
    return reading
