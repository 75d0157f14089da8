"""A seal: somebody's signature under all that a log says up to a certain record.

What is signed is a short statement, as canonical JSON: which run, how much of its log (the last record's `seq` and
`hash`, the number of lines and bytes, and the SHA-256 of those bytes), when, by whom, and with which key. It begins
with words that nothing else signed with the same key begins with.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orchestrator.audit.keys import ALGORITHM, is_signed, key_id
from orchestrator.audit.record import canonical
from orchestrator.moment import timestamp

FORMAT = "orchestrator audit seal"
VERSION = 1

_DOMAIN = f"{FORMAT} v{VERSION}\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class Covers:
    """How much of a log a seal is about: everything from its first byte.

    Attributes:
        seq: the number of the last record.
        hash: the hash of that record.
        lines: how many lines, torn ones included.
        bytes: how many bytes, the last newline included.
        sha256: of those bytes, in hex.
    """

    seq: int
    hash: str
    lines: int
    bytes: int
    sha256: str

    def document(self) -> dict[str, object]:
        """As the seal carries it."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, document: object) -> Self:
        """What `document` wrote.

        Raises:
            ValueError: when it is something else.
        """
        kinds = {each.name: each.type for each in fields(cls)}
        if not isinstance(document, dict) or set(document) != set(kinds):
            raise ValueError("it does not say what it covers")
        if any(type(document[name]) is not kind for name, kind in kinds.items()):
            raise ValueError("it does not say what it covers")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Seal:
    """A signed statement about a log.

    Attributes:
        run_id: the run.
        covers: how much of its log.
        sealed_at: when, by the clock of the machine that sealed it.
        by: user@host there.
        key_id: which key signed it.
        signature: 64 bytes.
    """

    run_id: str
    covers: Covers
    sealed_at: str
    by: str
    key_id: str
    signature: bytes

    @property
    def statement(self) -> bytes:
        """The bytes that are signed."""
        return _DOMAIN + canonical({"run_id": self.run_id, **self._said()})

    def _said(self) -> dict[str, object]:
        return {
            "algorithm": ALGORITHM,
            "key_id": self.key_id,
            "covers": self.covers.document(),
            "sealed_at": self.sealed_at,
            "by": self.by,
        }

    def is_by(self, key: Ed25519PublicKey) -> bool:
        """Whether this key signed it."""
        return self.key_id == key_id(key) and is_signed(key, self.signature, self.statement)

    def fields(self) -> dict[str, object]:
        """The fields of `run.sealed`."""
        return {**self._said(), "signature": base64.b64encode(self.signature).decode("ascii")}

    def document(self) -> dict[str, object]:
        """As it stands in a file of its own."""
        return {"format": FORMAT, "v": VERSION, "run_id": self.run_id, **self.fields()}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The seal that a `run.sealed` record, or a file of its own, holds.

        Raises:
            ValueError: when it is something else.
        """
        if document.get("algorithm") != ALGORITHM:
            raise ValueError(f"its algorithm is not {ALGORITHM}")
        texts = [document.get(name) for name in ("run_id", "sealed_at", "by", "key_id", "signature")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("it lacks a field that every seal has")
        run_id, sealed_at, by, key, signature = map(str, texts)
        try:
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("its signature is not base64") from None
        return cls(run_id, Covers.of(document.get("covers")), sealed_at, by, key, signed)


def make_seal(key: Ed25519PrivateKey, run_id: str, covers: Covers, *, by: str, at: datetime) -> Seal:
    """Sign a log.

    Args:
        key: whose signature it is.
        run_id: the run.
        covers: how much of its log.
        by: user@host.
        at: the time of day.
    """
    unsigned = Seal(run_id, covers, timestamp(at), by, key_id(key.public_key()), b"")
    return Seal(run_id, covers, unsigned.sealed_at, by, unsigned.key_id, key.sign(unsigned.statement))


class Measured:
    """Lines on their way to whoever checks them, with how much of the file came before the one that is looked at.

    Attributes:
        lines: how many lines came before it.
        bytes: how many bytes.
    """

    def __init__(self, source: Iterable[bytes], passed: Callable[[], object] = lambda: None) -> None:
        self.lines = 0
        self.bytes = 0
        self._source = source
        self._passed = passed
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of those bytes, in hex."""
        return self._hash.copy().hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for line in self._source:
            yield line
            self.lines += 1
            self.add(line)
            self._passed()

    def add(self, data: bytes) -> None:
        """Count further bytes."""
        self.bytes += len(data)
        self._hash.update(data)

    def covers(self, seq: int, last: str) -> Covers:
        """All that came before, of which the last record has this number and this hash."""
        return Covers(seq, last, self.lines, self.bytes, self.sha256)
