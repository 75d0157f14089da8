"""The keys of seals: private, never overwritten, never shown."""

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from orchestrator.audit.keys import is_signed, key_id, read_private_key, read_public_key, write_key_pair
from orchestrator.errors import UsageError

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def file_of(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "key.pem"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(passphrase: bytes | None = None) -> bytes:
    how = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def test_a_new_pair_fits_together_and_the_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    private, public = tmp_path / "a.pem", tmp_path / "a.pub.pem"
    made = write_key_pair(private, public)
    assert key_id(read_private_key(private).public_key()) == key_id(read_public_key(public)) == key_id(made)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) & 0o133 == 0


@pytest.mark.parametrize("there", ["a.pem", "a.pub.pem"])
def test_a_key_is_never_overwritten_and_no_half_of_a_pair_is_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=there) as caught:
        write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    assert caught.value.hint == "a key is never overwritten; name another file"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {there: "mine"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="others may use"):
        read_private_key(file_of(tmp_path, pem(), mode))


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = file_of(tmp_path, pem(b"secret words"))
    assert key_id(read_private_key(path, lambda: "secret words").public_key()) == key_id(KEY.public_key())
    with pytest.raises(UsageError, match="has a passphrase"):
        read_private_key(path)
    with pytest.raises(UsageError, match="the passphrase is wrong"):
        read_private_key(path, lambda: "other words")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00 no text",
        pem()[:-40],
        pem().replace(b"MC4", b"XX4"),
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_what_is_no_such_key_is_refused_and_nothing_of_it_is_shown(tmp_path: Path, data: bytes) -> None:
    path = file_of(tmp_path, data)
    with pytest.raises(UsageError) as caught:
        read_private_key(path)
    error = caught.value
    told = f"{error} {error.hint} {error.__cause__!r}"
    assert not any(line.decode("latin-1") in told for line in data.splitlines() if len(line) > 8)
    assert error.__cause__ is None


def test_where_logs_are_checked_a_private_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="here belongs the public one"):
        read_public_key(file_of(tmp_path, pem()))
    with pytest.raises(UsageError, match="no public key"):
        read_public_key(file_of(tmp_path, b"hello"))
    with pytest.raises(UsageError, match="can't be read"):
        read_public_key(tmp_path / "none.pem")


HOW = "`orchestrator audit keygen` makes a pair, and so does `openssl genpkey -algorithm ed25519`"
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
CURVE = generate_private_key(SECP256R1())
CURVE_PRIVATE = CURVE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
CURVE_PUBLIC = CURVE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("data", "mode", "message", "hint"),
    [
        (PUBLIC, 0o600, "this is a public key; a signature needs the private one", HOW),
        (pem(), 0o644, "others may use this private key", "chmod 600 {}"),
        (pem(b"words"), 0o600, "this private key has a passphrase", "use a terminal, to type the passphrase"),
        (b"hello", 0o600, "there is no private key in PEM in this file", HOW),
        (CURVE_PRIVATE, 0o600, "this is not an Ed25519 key", HOW),
    ],
    ids=["public key", "readable by others", "passphrase", "no key", "another kind of key"],
)
def test_a_refused_private_key_is_named_with_its_fault_and_the_remedy(
    tmp_path: Path, data: bytes, mode: int, message: str, hint: str
) -> None:
    path = file_of(tmp_path, data, mode)
    with pytest.raises(UsageError) as caught:
        read_private_key(path)
    assert (caught.value.message, caught.value.file, caught.value.hint) == (message, str(path), hint.format(path))


def test_a_wrong_passphrase_is_named_with_the_file(tmp_path: Path) -> None:
    path = file_of(tmp_path, pem(b"secret words"))
    with pytest.raises(UsageError) as caught:
        read_private_key(path, lambda: "other words")
    assert caught.value.message == "this private key can't be opened: the passphrase is wrong"
    assert (caught.value.file, caught.value.hint) == (str(path), None)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (
            pem(),
            "this is a private key; here belongs the public one",
            "give its public part: openssl pkey -in {} -pubout",
        ),
        (b"hello", "there is no public key in PEM in this file", HOW),
        (CURVE_PUBLIC, "this is not an Ed25519 key", HOW),
    ],
    ids=["private key", "no key", "another kind of key"],
)
def test_a_refused_public_key_is_named_with_its_fault_and_the_remedy(
    tmp_path: Path, data: bytes, message: str, hint: str
) -> None:
    path = file_of(tmp_path, data)
    with pytest.raises(UsageError) as caught:
        read_public_key(path)
    assert (caught.value.message, caught.value.file, caught.value.hint) == (message, str(path), hint.format(path))


def test_a_key_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.pem", "No such file or directory"), (Path("a\0b"), "embedded null byte")):
        with pytest.raises(UsageError) as caught:
            read_public_key(path)
        assert (caught.value.message, caught.value.file) == (f"the key can't be read: {reason}", str(path))
        assert caught.value.hint == HOW


def test_a_key_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_key_pair(tmp_path / "none" / "a.pem", tmp_path / "a.pub.pem")
    error = caught.value
    assert (error.message, error.hint) == ("the key can't be written: No such file or directory", None)
    assert error.file == str(tmp_path / "none" / "a.pem")


def test_a_signature_is_of_one_key_and_of_one_text() -> None:
    signature, other = KEY.sign(b"text"), Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    assert is_signed(KEY.public_key(), signature, b"text")
    assert not is_signed(KEY.public_key(), signature, b"another text")
    assert not is_signed(other.public_key(), signature, b"text")
    assert not is_signed(KEY.public_key(), b"", b"text")


def test_the_id_of_a_key_is_the_digest_of_its_public_part() -> None:
    der = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(KEY.public_key()) == hashlib.sha256(der).hexdigest()
