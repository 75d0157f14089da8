"""One record of the log: its canonical JSON, its hash, and how a chain of them grows.

The hash is SHA-256 over the record without its `hash`, as canonical JSON: keys sorted, separators `,` and `:`, UTF-8
unescaped. `prev` is the hash before it, so no record can be changed, moved, put in or taken out unnoticed.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from orchestrator.moment import timestamp

Record: TypeAlias = dict[str, Any]

VERSION = 1
GENESIS = "0" * 64
"""The `prev` of the first record."""


def canonical(value: object) -> bytes:
    """The one way in which a value is written as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest(record: Mapping[str, object]) -> str:
    """The hash of a record, whose own `hash` (if it has one already) does not count."""
    return hashlib.sha256(canonical({key: value for key, value in record.items() if key != "hash"})).hexdigest()


def clean(value: object) -> object:
    """A value that canonical JSON can hold, whatever an API or a person put into it.

    Money becomes decimal strings; half a surrogate pair, which is not Unicode, becomes its escape as text.
    """
    if isinstance(value, str):
        return str(value) if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(clean(str(key))): clean(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean(each) for each in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value


class Chain:
    """Where a log stands: what the next record has to follow on.

    Attributes:
        run_id: the run that the log is of.
        seq: the number of the last record; 0 before the first.
        prev: the hash of the last record.
        ts: its timestamp; a clock that was set back does not take later records before it.
    """

    def __init__(self, run_id: str, seq: int = 0, prev: str = GENESIS, ts: str = "") -> None:
        self.run_id = run_id
        self.seq = seq
        self.prev = prev
        self.ts = ts

    def seal(self, event: str, fields: Mapping[str, object], moment: datetime) -> tuple[Record, bytes]:
        """The next record, and its line in the file, newline included."""
        self.ts = max(self.ts, timestamp(moment))
        record: Record = {str(key): clean(value) for key, value in fields.items()}
        record |= {"v": VERSION, "seq": self.seq + 1, "ts": self.ts, "run_id": self.run_id, "event": event}
        record["prev"] = self.prev
        record["hash"] = digest(record)
        self.seq += 1
        self.prev = record["hash"]
        return record, canonical(record) + b"\n"
