"""A seal: a signature over a log up to a certain record.

The signed text is a short statement in canonical JSON: the run, the extent of the log (`seq` and `hash` of the last
record, the number of lines and bytes, and the SHA-256 of these bytes), the time, the author, and the key. The statement
begins with words reserved for seals, so no other signature by the same key can pass for a seal.
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
from orchestrator.audit.record import encode_canonical
from orchestrator.times import timestamp

FORMAT = "orchestrator audit seal"
VERSION = 1

_DOMAIN = f"{FORMAT} v{VERSION}\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class Covers:
    """Extent of a seal: the part of the log under the seal, from the first byte on.

    Attributes:
        seq: number of the last record.
        hash: hash of the last record.
        lines: number of lines, torn lines included.
        bytes: number of bytes, the last newline included.
        sha256: SHA-256 of these bytes, in hex.
    """

    seq: int
    hash: str
    lines: int
    bytes: int
    sha256: str

    def document(self) -> dict[str, object]:
        """The `covers` field of a seal."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_document(cls, document: object) -> Self:
        """Parse the result of `document`.

        Raises:
            ValueError: when the document has another form.
        """
        kinds = {each.name: each.type for each in fields(cls)}
        if not isinstance(document, dict) or set(document) != set(kinds):
            raise ValueError("its field covers is missing or invalid")
        if any(type(document[name]) is not kind for name, kind in kinds.items()):
            raise ValueError("its field covers is missing or invalid")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Seal:
    """A signed statement about a log.

    Attributes:
        run_id: the run.
        covers: extent of the seal.
        sealed_at: time of sealing, by the clock of the sealing machine.
        by: user@host on the sealing machine.
        key_id: id of the signing key.
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
        """The signed bytes."""
        return _DOMAIN + encode_canonical({"run_id": self.run_id, **self._signed_fields()})

    def _signed_fields(self) -> dict[str, object]:
        return {
            "algorithm": ALGORITHM,
            "key_id": self.key_id,
            "covers": self.covers.document(),
            "sealed_at": self.sealed_at,
            "by": self.by,
        }

    def is_by(self, key: Ed25519PublicKey) -> bool:
        """Return True if this key signed the seal."""
        return self.key_id == key_id(key) and is_signed(key, self.signature, self.statement)

    def record_fields(self) -> dict[str, object]:
        """The fields of `run.sealed`."""
        return {**self._signed_fields(), "signature": base64.b64encode(self.signature).decode("ascii")}

    def document(self) -> dict[str, object]:
        """The seal as the document of a separate file."""
        return {"format": FORMAT, "v": VERSION, "run_id": self.run_id, **self.record_fields()}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Parse the seal of a `run.sealed` record or of a separate file.

        Raises:
            ValueError: when the document has another form.
        """
        if document.get("algorithm") != ALGORITHM:
            raise ValueError(f"its algorithm is not {ALGORITHM}")
        texts = [document.get(name) for name in ("run_id", "sealed_at", "by", "key_id", "signature")]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a required field is missing")
        run_id, sealed_at, by, key, signature = map(str, texts)
        try:
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("its signature is not base64") from None
        return cls(run_id, Covers.from_document(document.get("covers")), sealed_at, by, key, signed)


def make_seal(key: Ed25519PrivateKey, run_id: str, covers: Covers, *, by: str, at: datetime) -> Seal:
    """Sign a log.

    Args:
        key: the key to sign with.
        run_id: the run.
        covers: extent of the seal.
        by: user@host.
        at: the time of day.
    """
    unsigned = Seal(run_id, covers, timestamp(at), by, key_id(key.public_key()), b"")
    return Seal(run_id, covers, unsigned.sealed_at, by, unsigned.key_id, key.sign(unsigned.statement))


class Measured:
    """Iterator over the lines of a log; counts and hashes the lines before the current line.

    Attributes:
        lines: number of lines before the current line.
        bytes: number of bytes before the current line.
    """

    def __init__(self, source: Iterable[bytes], passed: Callable[[], object] = lambda: None) -> None:
        self.lines = 0
        self.bytes = 0
        self._source = source
        self._passed = passed
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of the counted bytes, in hex."""
        return self._hash.copy().hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        for line in self._source:
            yield line
            self.lines += 1
            self.count_bytes(line)
            self._passed()

    def count_bytes(self, data: bytes) -> None:
        """Count and hash further bytes."""
        self.bytes += len(data)
        self._hash.update(data)

    def measure_extent(self, seq: int, last: str) -> Covers:
        """Extent of the counted lines; the last record has this number and this hash."""
        return Covers(seq, last, self.lines, self.bytes, self.sha256)
