"""Check a log together with its seals, both in the log and in separate files.

The chain alone shows that no record inside the log was changed. A seal by a known key also shows that this log is the
sealed log and that its end is not missing: a forger without the key can't seal a shortened or a different log.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from orchestrator.audit.events import Event
from orchestrator.audit.record import Record
from orchestrator.audit.seal_format import Covers, Measured, Seal
from orchestrator.audit.store import is_run_id
from orchestrator.audit.verify import Reading, Take, Verdict, check_lines, ignore_record


@dataclass(frozen=True, slots=True)
class Detached:
    """A seal in a separate file.

    Attributes:
        file: the file.
        seal: the seal; None if the file can't be read as a seal.
        asked: whether a person named this file; then a seal by an unknown key is a fault.
    """

    file: Path
    seal: Seal | None
    asked: bool


@dataclass(slots=True)
class SealCheck:
    """Result of a check of a log's seals against certain public keys.

    Attributes:
        good: the valid seal over the most records; None without a valid seal.
        file: the separate file of that seal; None if the seal is in the log.
        since: number of later records, not covered by the seal.
        found: number of seals in the log.
        foreign: number of seals by other keys.
        broken: fault of a seal by one of the keys, or of a separate seal file; None without a fault.
        line: line of the faulty seal in the log; None for other faults.
        covers: extent of the whole log, for a seal made now; None if the log is altered.
    """

    good: Seal | None = None
    file: Path | None = None
    since: int = 0
    found: int = 0
    foreign: int = 0
    broken: str | None = None
    line: int | None = None
    covers: Covers | None = None
    _through: int = field(default=0, repr=False)

    def register_seal(self, seal: Seal, through: int, file: Path | None = None) -> None:
        """Register a valid seal over the records up to this number."""
        if through > self._through:
            self.good, self.file, self._through = seal, file, through

    def register_fault(self, what: str, line: int | None = None) -> None:
        """Register a fault; only the first fault is kept."""
        if self.broken is None:
            self.broken, self.line = what, line

    def find_fault(self, reading: Reading) -> str | None:
        """Reason to distrust the log according to its seals; None if a valid seal covers the log up to its extent."""
        if self.broken is not None or self.good is not None:
            return self.broken
        if self.foreign:
            return "there is no seal by this key, only by another one"
        if reading.finished:
            return "there is no seal"
        return "there is no seal, and the run did not finish, or its end was cut off"

    def complete_result(self, reading: Reading, measured: Measured) -> None:
        """Complete the result after the whole log was read."""
        self.since = reading.records - self._through
        if reading.unterminated:
            measured.count_bytes(b"\n")
        self.covers = measured.measure_extent(reading.chain.seq, reading.chain.prev)


def read_sealed(
    path: Path, keys: Mapping[str, Ed25519PublicKey], detached: Sequence[Detached] = (), take: Take = ignore_record
) -> tuple[Reading, SealCheck]:
    """Read and check a log and its seals in a single pass; a file named after another run is a fault.

    Args:
        path: the log.
        keys: public keys of the accepted seals, by id.
        detached: the seals in separate files.
        take: called with each record, as in `read_log`.

    Raises:
        OSError: when the log can't be read.
    """
    with path.open("rb") as file:
        reading, check = check_sealed(file, keys, detached, take)
    if is_run_id(path.stem) and reading.records and reading.chain.run_id != path.stem:
        check.register_fault(f"it is the log of another run, {reading.chain.run_id}")
    return reading, check


def check_sealed(
    lines: Iterable[bytes],
    keys: Mapping[str, Ed25519PublicKey],
    detached: Sequence[Detached] = (),
    take: Take = ignore_record,
) -> tuple[Reading, SealCheck]:
    """Check the lines of a log and its seals, like `read_sealed` without the check of the file's name."""
    check = SealCheck()
    wanted = {each.seal.covers.bytes for each in detached if each.seal}
    passed: dict[int, tuple[int, str]] = {}

    def mark_position() -> None:
        if measured.bytes in wanted:
            passed[measured.bytes] = measured.lines, measured.sha256

    def on_record(record: Record) -> None:
        if record["event"] == Event.RUN_SEALED:
            covers = measured.measure_extent(record["seq"] - 1, record["prev"])
            _check_record(check, record, covers, keys)
        take(record)

    measured = Measured(lines, mark_position)
    reading = check_lines(measured, on_record)
    if reading.verdict is not Verdict.ALTERED:
        for each in detached:
            _check_detached(check, each, reading, passed, keys)
        check.complete_result(reading, measured)
    return reading, check


def _check_record(check: SealCheck, record: Record, covers: Covers, keys: Mapping[str, Ed25519PublicKey]) -> None:
    check.found += 1
    line = covers.lines + 1
    if record.get("key_id") not in keys:
        check.foreign += 1
        return
    try:
        seal = Seal.from_document(record)
    except ValueError as error:
        check.register_fault(f"this is no seal: {error}", line)
        return
    if not seal.is_by(keys[seal.key_id]):
        check.register_fault("the signature of this seal is wrong", line)
    elif seal.covers != covers:
        check.register_fault("this seal is of something else than the lines above it", line)
    else:
        check.register_seal(seal, record["seq"])


def _check_detached(
    check: SealCheck,
    detached: Detached,
    reading: Reading,
    passed: Mapping[int, tuple[int, str]],
    keys: Mapping[str, Ed25519PublicKey],
) -> None:
    seal, name = detached.seal, detached.file.name
    if seal is None:
        check.register_fault(f"{name} is no seal")
    elif seal.key_id not in keys:
        check.foreign += 1
        if detached.asked:
            check.register_fault(f"{name} is by another key")
    elif not seal.is_by(keys[seal.key_id]):
        check.register_fault(f"the signature in {name} is wrong")
    elif seal.run_id != reading.chain.run_id:
        check.register_fault(f"{name} is of another run, {seal.run_id}")
    elif seal.covers.bytes not in passed:
        check.register_fault(
            f"{name} is of {seal.covers.lines} lines, {seal.covers.bytes} bytes, and the log does not have all of them"
        )
    elif passed[seal.covers.bytes] != (seal.covers.lines, seal.covers.sha256):
        check.register_fault(f"{name} is of something else than the first {seal.covers.lines} lines")
    else:
        check.register_seal(seal, seal.covers.seq, detached.file)
