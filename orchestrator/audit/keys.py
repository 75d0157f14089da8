"""Ed25519 keys to make and check seals and approvals, in PEM files compatible with openssl.

The private key is never shown, logged or copied. A private key file with access for other users is refused.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from orchestrator.errors import UsageError

ALGORITHM = "ed25519"

_LARGEST = 65_536
_OTHERS_MAY_USE = stat.S_IRWXG | stat.S_IRWXO
_HOW = "`orchestrator audit keygen` makes a pair, and so does `openssl genpkey -algorithm ed25519`"


def key_id(key: Ed25519PublicKey) -> str:
    """Id of a key: the SHA-256 in hex of its public part, in the form of `openssl pkey -pubin -outform DER`."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def is_signed(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    """Return True if this key made the signature over these bytes."""
    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True


def write_key_pair(private: Path, public: Path) -> Ed25519PublicKey:
    """Make a new pair of keys and write the pair to two new files; only the owner may read the private key.

    Raises:
        UsageError: when a file exists already, or can't be written; no new file is left then.
    """
    key = Ed25519PrivateKey.generate()
    both = (
        (private, 0o600, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        (public, 0o644, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    )
    written: list[Path] = []
    path = private
    try:
        for path, mode, data in both:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            written.append(path)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
    except OSError as error:
        for each in written:
            each.unlink(missing_ok=True)
        hint = "a key is never overwritten; name another file" if isinstance(error, FileExistsError) else None
        raise UsageError(f"the key can't be written: {error.strerror or error}", file=path, hint=hint) from error
    return key.public_key()


def read_private_key(path: Path, ask: Callable[[], str | None] = lambda: None) -> Ed25519PrivateKey:
    """Read the private key of a file.

    Args:
        path: a PEM file; may be a pipe.
        ask: called for the passphrase if the file is encrypted; returns None if no person can answer.

    Raises:
        UsageError: when the file can't be read, other users may use the file, or the file has no Ed25519 private key.
    """
    data, mode = _read_key_file(path)
    if b"PUBLIC KEY" in data:
        raise UsageError("this is a public key; a signature needs the private one", file=path, hint=_HOW)
    if mode & _OTHERS_MAY_USE:
        raise UsageError("others may use this private key", file=path, hint=f"chmod 600 {path}")
    try:
        try:
            key = load_pem_private_key(data, None)
        except TypeError:
            passphrase = ask()
            if passphrase is None:
                hint = "use a terminal, to type the passphrase"
                raise UsageError("this private key has a passphrase", file=path, hint=hint) from None
            key = load_pem_private_key(data, passphrase.encode())
    except (ValueError, UnsupportedAlgorithm):
        # Raised without its cause: no part of the file may be shown.
        if b"ENCRYPTED" in data:
            raise UsageError("this private key can't be opened: the passphrase is wrong", file=path) from None
        raise UsageError("there is no private key in PEM in this file", file=path, hint=_HOW) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("this is not an Ed25519 key", file=path, hint=_HOW)
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read the public key of a file.

    Raises:
        UsageError: when the file can't be read, or has no Ed25519 public key.
    """
    data, _ = _read_key_file(path)
    if b"PRIVATE KEY" in data:
        raise UsageError(
            "this is a private key; here belongs the public one",
            file=path,
            hint=f"give its public part: openssl pkey -in {path} -pubout",
        )
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("there is no public key in PEM in this file", file=path, hint=_HOW) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("this is not an Ed25519 key", file=path, hint=_HOW)
    return key


def _read_key_file(path: Path) -> tuple[bytes, int]:
    """Read a small file and its mode; both belong to the same file even if another process replaces the file."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST), os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the key can't be read: {reason}", file=path, hint=_HOW) from error
