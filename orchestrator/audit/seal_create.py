"""Seal a log: put the seal into the log and into a file beside the log, or only into a file elsewhere.

Only a whole and finished log is sealed, and only if its earlier seals by the same key hold. A seal must not hide that
the end of the log was cut off.
"""

import json
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.audit.events import Event
from orchestrator.audit.keys import key_id
from orchestrator.audit.record import Record
from orchestrator.audit.seal_format import FORMAT, Seal, make_seal
from orchestrator.audit.seal_verify import Detached, SealCheck, read_sealed
from orchestrator.audit.store import FileRun, seal_file
from orchestrator.audit.verify import Reading, Verdict, ignore_record
from orchestrator.errors import AlteredError, AuditError, UnfinishedError, UsageError
from orchestrator.state_files import replace_file
from orchestrator.times import utc_now

_LARGEST = 65_536


@dataclass(frozen=True, slots=True)
class Sealed:
    """Result of sealing a log.

    Attributes:
        seal: the seal.
        file: the seal's own file.
        new: whether the seal was made now; False if the log had this seal already, without later records.
    """

    seal: Seal
    file: Path
    new: bool


async def seal_log(run: FileRun, key: Ed25519PrivateKey, *, by: str, wall: Callable[[], datetime] = utc_now) -> Sealed:
    """Append a seal to a log, and write the seal to a file beside the log.

    Args:
        run: the run of the log.
        key: the key to sign with.
        by: user@host.
        wall: the time of day.

    Raises:
        AlteredError: when the log was altered, or a seal of the log by this key does not hold.
        UnfinishedError: when the run did not finish.
        RunHeldError: when another process holds the log.
        SettingsError: when the log can't be continued.
        UsageError: when the seal can't be written.
    """
    path = run.path
    beside = seal_file(path)
    detached = read_detached(beside, asked=False)
    last: deque[Record] = deque(maxlen=1)
    log, _ = run.open_log(ignore_record)
    with closing(log):
        # Read with its seals while no other process can change the log.
        reading, check = read_sealed(path, {key_id(key.public_key()): key.public_key()}, detached, last.append)
        _refuse_unsound(path, reading, check)
        seal = _find_standing_seal(last[0], check) if reading.verdict is Verdict.WHOLE else None
        new = seal is None
        if seal is None:
            assert check.covers is not None  # noqa: S101 - for the type checker; the log is not altered
            seal = make_seal(key, reading.chain.run_id, check.covers, by=by, at=wall())
            log.record_about(reading, Event.RUN_SEALED, **seal.record_fields())
            try:
                await log.flush()
            except AuditError as error:
                raise UsageError(
                    f"the seal can't be written: {error.message}", file=path, hint="free disk space, then seal again"
                ) from error
        if [each.seal for each in detached] != [seal]:
            write_seal(beside, seal)
    return Sealed(seal, beside, new)


def seal_elsewhere(
    path: Path, out: Path, key: Ed25519PrivateKey, *, by: str, wall: Callable[[], datetime] = utc_now
) -> Sealed:
    """Write a seal of a log to a file, without a change to the log; the log may be a read-only copy.

    Args:
        path: the log.
        out: the file; an earlier seal of the same log in this file is replaced.
        key: the key to sign with.
        by: user@host.
        wall: the time of day.

    Raises:
        AlteredError: when the log was altered, or a seal of the log by this key does not hold.
        UnfinishedError: when the run did not finish, or its last line is torn.
        UsageError: when the log can't be read, or the seal can't be written.
    """
    earlier = read_detached(out, asked=True)
    keys = {key_id(key.public_key()): key.public_key()}
    try:
        reading, check = read_sealed(path, keys, [*earlier, *read_detached(seal_file(path), asked=False)])
    except OSError as error:
        raise UsageError(f"the log can't be read: {error.strerror or error}", file=path) from error
    _refuse_unsound(path, reading, check)
    if reading.verdict is not Verdict.WHOLE or check.covers is None:
        hint = "seal the log in a folder with write access: this ends the torn line"
        raise UnfinishedError(f"the last line is torn: {reading.reason}", file=path, line=reading.line, hint=hint)
    for each in earlier:
        if each.seal is not None and each.seal.covers == check.covers:
            return Sealed(each.seal, out, new=False)
    seal = make_seal(key, reading.chain.run_id, check.covers, by=by, at=wall())
    write_seal(out, seal)
    return Sealed(seal, out, new=True)


def _refuse_unsound(path: Path, reading: Reading, check: SealCheck) -> None:
    if reading.verdict is Verdict.ALTERED:
        raise AlteredError(f"the audit log was altered: {reading.reason}", file=path, line=reading.line)
    if check.broken is not None:
        raise AlteredError(
            f"a seal of this log does not hold: {check.broken}",
            file=path,
            line=check.line,
            hint="nothing was sealed: find the author of the change first",
        )
    if not reading.finished:
        hint = f"`orchestrator resume {reading.chain.run_id}` goes on with it" if reading.records else None
        raise UnfinishedError("the run did not finish; only a finished log is sealed", file=path, hint=hint)


def _find_standing_seal(last: Record, check: SealCheck) -> Seal | None:
    """Return the seal of the last record if that seal holds; None otherwise.

    The seal must be in the log itself and cover all records before it.
    """
    if last["event"] == Event.RUN_SEALED and check.good is not None and check.file is None and not check.since:
        return check.good
    return None


def read_detached(file: Path, *, asked: bool) -> list[Detached]:
    """Read the seal in a separate file; return an empty list without such a file.

    Args:
        file: the file.
        asked: whether a person named the file.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST)
    except FileNotFoundError:
        return []
    except OSError:
        return [Detached(file, None, asked)]
    return [Detached(file, parse_detached(data), asked)]


def parse_detached(data: bytes) -> Seal | None:
    """Parse the bytes of a file as a seal; None if the bytes are no seal."""
    try:
        document: Any = json.loads(data)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            return None
        return Seal.from_document(document)
    except (ValueError, RecursionError):
        return None


def write_seal(file: Path, seal: Seal) -> None:
    """Write a seal to a separate file, completely or not at all.

    Raises:
        UsageError: when the file can't be written.
    """
    try:
        replace_file(file, json.dumps(seal.document(), indent=2).encode("ascii") + b"\n")
    except OSError as error:
        raise UsageError(f"the seal can't be written: {error.strerror or error}", file=file) from error
