"""A record of the log: its canonical JSON, its hash, and the chain of records.

The hash is SHA-256 over the record without its `hash`, as canonical JSON: keys sorted, separators `,` and `:`, UTF-8
unescaped. `prev` is the hash of the record before, so no record can be changed, moved, added or removed unnoticed.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from orchestrator.times import timestamp

Record: TypeAlias = dict[str, Any]

VERSION = 1
GENESIS = "0" * 64
"""The `prev` of the first record."""

_HASH = "hash"
_NOBODYS = secrets.token_hex(32)
_PLACE = f'"{_HASH}":"{_NOBODYS}"'.encode("ascii")
_ATOMS = frozenset({int, float, bool, type(None)})
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode_canonical(value: object) -> bytes:
    """Write a value as canonical JSON."""
    return _ENCODER.encode(value).encode("utf-8")


def compute_hash(record: Mapping[str, object]) -> str:
    """Compute the hash of a record; an existing `hash` field does not count."""
    return hashlib.sha256(encode_canonical({key: value for key, value in record.items() if key != _HASH})).hexdigest()


def hash_record(record: Mapping[str, object]) -> tuple[str, bytes]:
    """Compute the hash of a record and its canonical JSON with the hash, with a single encoding of the record.

    The record is encoded with a random placeholder instead of the hash. No other part of the record can contain the
    placeholder. The hash is computed over the text around the placeholder.
    """
    head, _, tail = encode_canonical({**record, _HASH: _NOBODYS}).partition(_PLACE)
    if tail.startswith(b","):
        found = hashlib.sha256(head)
        found.update(memoryview(tail)[1:])
    else:
        found = hashlib.sha256(head.removesuffix(b",") + tail)
    seal = found.hexdigest()
    return seal, b"".join((head, b'"hash":"', seal.encode("ascii"), b'"', tail))


def clean_value(value: object) -> object:
    """Convert a value from an API or a person for canonical JSON; a suitable value is returned unchanged.

    A `Decimal` becomes a decimal string. Half a surrogate pair, which is not Unicode, becomes its escape as text.
    """
    if _is_clean(value):
        return value
    if isinstance(value, str):
        return str(value) if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {str(clean_value(str(key))): clean_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(each) for each in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value


def _is_clean(value: Any) -> bool:  # noqa: ANN401 - any value
    """Return True if a value is plain JSON already; most values are, and need no copy."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii() or value.isprintable())  # half a surrogate pair is not printable
    if kind in _ATOMS:
        return True
    if kind is dict:
        for key, each in value.items():
            if type(key) is not str or not key.isascii():
                return False
            # The usual values are checked here, without a call for each.
            kind = type(each)
            if kind is str:
                if not each.isascii() and not each.isprintable():
                    return False
            elif kind not in _ATOMS and not _is_clean(each):
                return False
        return True
    return kind is list and all(map(_is_clean, value))


class Chain:
    """End of a log's hash chain: the values the next record must continue from.

    Attributes:
        run_id: the run of the log.
        seq: number of the last record; 0 before the first record.
        prev: hash of the last record.
        ts: timestamp of the last record; later records never get an earlier timestamp, even if the clock is set back.
    """

    __slots__ = ("prev", "run_id", "seq", "ts")

    def __init__(self, run_id: str, seq: int = 0, prev: str = GENESIS, ts: str = "") -> None:
        self.run_id = run_id
        self.seq = seq
        self.prev = prev
        self.ts = ts

    def append(self, event: str, fields: Mapping[str, object], moment: datetime) -> tuple[Record, bytes]:
        """Make the next record and its line in the file, with the newline.

        The record shares unchanged values with `fields`, so the caller must not change these values later.
        """
        self.ts = max(self.ts, timestamp(moment))
        record: Record = {key: value if _is_clean(value) else clean_value(value) for key, value in fields.items()}
        record |= {"v": VERSION, "seq": self.seq + 1, "ts": self.ts, "run_id": self.run_id, "event": str(event)}
        record["prev"] = self.prev
        record[_HASH], line = hash_record(record)
        self.seq += 1
        self.prev = record[_HASH]
        return record, line + b"\n"
