"""Seals: every change of a sealed log is found, and an unchanged log always passes the check."""

import itertools
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.audit.keys import key_id
from orchestrator.audit.log import AuditLog, write_inline
from orchestrator.audit.record import Record
from orchestrator.audit.seal_create import parse_detached, read_detached, seal_elsewhere, seal_log
from orchestrator.audit.seal_format import Covers, Seal, make_seal
from orchestrator.audit.seal_verify import Detached, SealCheck, check_sealed, read_sealed
from orchestrator.audit.store import FileRun, seal_file
from orchestrator.audit.verify import Reading, Verdict
from orchestrator.errors import AlteredError, RunHeldError, UnfinishedError, UsageError
from tests.logs import RUN_ID, START, STORY, check_log, log

pytestmark = pytest.mark.anyio

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(letter * 32) for letter in (b"k", b"o"))
KEYS = {key_id(KEY.public_key()): KEY.public_key()}
BOTH = KEYS | {key_id(OTHER.public_key()): OTHER.public_key()}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ignore(record: Record) -> None:
    """Take nothing of it."""


def checked(data: bytes, detached: Seal | None = None, keys: Any = KEYS) -> tuple[Reading, SealCheck]:  # noqa: ANN401 - a mapping
    files = [Detached(Path("kept.seal.json"), detached, asked=True)] if detached else []
    return check_sealed(BytesIO(data), keys, files)


def sound(data: bytes, detached: Seal | None = None, keys: Any = KEYS) -> bool:  # noqa: ANN401 - a mapping
    reading, check = checked(data, detached, keys)
    return reading.verdict is Verdict.WHOLE and check.find_fault(reading) is None


def covering(data: bytes) -> Covers:
    covers = checked(data)[1].covers
    assert covers is not None
    return covers


def seal_of(data: bytes, key: Ed25519PrivateKey = KEY) -> Seal:
    return make_seal(key, check_log(data).chain.run_id, covering(data), by="me@here", at=START)


def appended(data: bytes, event: str, fields: dict[str, object]) -> bytes:
    return data + check_log(data).chain.append(event, fields, START + timedelta(hours=1))[1]


def sealed(data: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    return appended(data, "run.sealed", seal_of(data, key).record_fields())


def reconciled(data: bytes, times: int = 1) -> bytes:
    for number in range(times):
        data = appended(data, "billing.reconciled", {"number": number})
    return data


SEALED = sealed(log())
LATER = sealed(reconciled(SEALED, 2))


def test_a_sealed_log_is_sound_and_says_up_to_where() -> None:
    reading, check = checked(SEALED)
    assert sound(SEALED)
    assert check.good is not None
    assert (check.good.covers.lines, check.since, check.good.by) == (len(STORY), 0, "me@here")
    assert check.good.covers.bytes == len(log())
    assert reading.records == len(STORY) + 1


@settings(deadline=None)
@given(st.integers(0, len(SEALED) - 1))
def test_whatever_is_cut_off_a_sealed_log_is_found(size: int) -> None:
    assert not sound(SEALED[:size])


@settings(deadline=None)
@given(st.integers(0, len(LATER) - 1), st.integers(1, 255))
def test_every_byte_that_is_changed_in_a_sealed_log_is_found(place: int, flip: int) -> None:
    data = bytearray(LATER)
    data[place] ^= flip
    assert not sound(bytes(data))


_FIELDS = st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text(), max_size=3)
_MIDDLE = st.lists(st.tuples(st.sampled_from(["action.intent", "target.status", "x"]), _FIELDS), max_size=5)


@given(_MIDDLE)
def test_another_log_in_its_place_is_found_however_whole_its_chain_is(
    middle: list[tuple[str, dict[str, Any]]],
) -> None:
    forged = log([STORY[0], *middle, STORY[-1]])
    assert check_log(forged).verdict is Verdict.WHOLE
    own = seal_of(log()).record_fields()
    lying = replace(seal_of(log()), covers=covering(forged)).record_fields()
    posing = seal_of(forged, OTHER).record_fields() | {"key_id": next(iter(KEYS))}
    for stolen in ({}, own, lying, posing, {**own, "covers": None}, {**own, "signature": "?"}, {**own, "by": 1}):
        assert not sound(forged)
        again = appended(forged, "run.sealed", stolen)
        assert check_log(again).verdict is Verdict.WHOLE
        assert not sound(again)
        assert not sound(again, seal_of(log()))
    assert not sound(sealed(forged, OTHER))


def test_records_that_came_after_the_seal_are_counted_and_no_fault() -> None:
    data = reconciled(SEALED, 3)
    reading, check = checked(data)
    assert (check.find_fault(reading), check.since) == (None, 3)
    assert check.good is not None
    assert check.good.covers.lines == len(STORY)


def test_a_later_seal_covers_what_came_since() -> None:
    _, check = checked(LATER)
    assert check.good is not None
    assert (check.found, check.since, check.good.covers.lines) == (2, 0, len(STORY) + 3)


def test_a_log_that_was_cut_back_to_an_earlier_seal_is_found_by_the_later_one_that_was_kept() -> None:
    kept = seal_of(reconciled(SEALED, 2))
    assert sound(SEALED)
    assert sound(LATER, kept)
    assert not sound(SEALED, kept)


def test_a_seal_that_was_kept_elsewhere_vouches_for_a_log_that_has_none() -> None:
    assert sound(log(), seal_of(log()))
    assert checked(reconciled(log()), seal_of(log()))[1].since == 1
    assert not sound(log(STORY[:-1]), seal_of(log()))
    assert not sound(log(), seal_of(log(), OTHER))
    assert not sound(log(), replace(seal_of(log()), by="you@there"))
    assert not sound(log(), make_seal(KEY, "20261123T080000Z-ffff", covering(log()), by="", at=START))


def test_the_seal_of_another_key_counts_only_where_that_key_is_given() -> None:
    foreign, rotated = sealed(log(), OTHER), sealed(sealed(log(), OTHER))
    reading, check = checked(foreign)
    assert check.find_fault(reading) == "there is no seal by this key, only by another one"
    assert sound(foreign, keys=BOTH)
    assert sound(rotated)
    assert checked(sealed(SEALED, OTHER))[1].since == 1


def written(folder: Path, data: bytes) -> Path:
    path = folder / f"{RUN_ID}.jsonl"
    path.write_bytes(data)
    return path


def names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


async def seal(path: Path) -> bool:
    return (await seal_log(FileRun(path), KEY, by="me@here", wall=lambda: START)).new


async def test_sealing_leaves_what_was_there_as_it_was_and_a_copy_of_the_seal_beside_it(tmp_path: Path) -> None:
    path = written(tmp_path, log())
    assert await seal(path)
    assert path.read_bytes().startswith(log())
    assert sound(path.read_bytes())
    (beside,) = read_detached(seal_file(path), asked=False)
    assert beside.seal == checked(path.read_bytes())[1].good
    assert seal_file(path).stat().st_mode & 0o777 == 0o600


async def test_sealing_twice_with_nothing_new_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, log())
    await seal(path)
    data = path.read_bytes()
    seal_file(path).unlink()
    assert not await seal(path)
    assert path.read_bytes() == data
    assert seal_file(path).exists()
    path.write_bytes(reconciled(data))
    assert await seal(path)
    assert sound(path.read_bytes())


@pytest.mark.parametrize("cut", [1, 40, 700])
async def test_a_seal_that_was_cut_off_while_it_was_written_is_made_anew(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, SEALED[:-cut])
    assert not sound(path.read_bytes())
    assert await seal(path)
    assert sound(path.read_bytes())
    assert path.read_bytes().startswith(SEALED[:-cut])


async def test_only_a_finished_log_that_is_what_was_written_is_sealed(tmp_path: Path) -> None:
    cases: list[tuple[bytes, type[Exception]]] = [
        (log(STORY[:-1]), UnfinishedError),
        (log()[:-30], UnfinishedError),
        (b"", UnfinishedError),
        (log().replace(b'"exit_code":6', b'"exit_code":0'), AlteredError),
        (sealed(log()).replace(b"me@here", b"we@here"), AlteredError),
        (appended(log(), "run.sealed", seal_of(log()).record_fields() | {"by": "you"}), AlteredError),
    ]
    for data, error in cases:
        path = written(tmp_path, data)
        with pytest.raises(error):
            await seal(path)
        with pytest.raises(error):
            seal_elsewhere(path, tmp_path / "out.json", KEY, by="me@here")
        assert path.read_bytes() == data
        assert names_in(tmp_path) == [path.name]


async def test_a_log_that_lost_something_that_was_sealed_is_not_sealed_again(tmp_path: Path) -> None:
    path = written(tmp_path, LATER)
    seal_elsewhere(path, tmp_path / "kept.json", KEY, by="me@here")
    seal_elsewhere(path, seal_file(path), KEY, by="me@here")
    path.write_bytes(SEALED)
    with pytest.raises(AlteredError, match="does not have all of them"):
        await seal(path)
    with pytest.raises(AlteredError, match="does not have all of them"):
        seal_elsewhere(path, tmp_path / "kept.json", KEY, by="me@here")
    seal_file(path).write_text("{}")
    with pytest.raises(AlteredError, match="is no seal"):
        await seal(path)


async def test_a_log_that_somebody_holds_is_not_sealed(tmp_path: Path) -> None:
    path = written(tmp_path, log())
    holder, _ = AuditLog.reopen(path, ignore, sync=write_inline)
    with closing(holder), pytest.raises(RunHeldError):
        await seal(path)


def test_a_seal_elsewhere_leaves_the_log_alone_and_is_made_anew_only_for_what_is_new(tmp_path: Path) -> None:
    path, out = written(tmp_path, log()), tmp_path / "out.json"
    made = seal_elsewhere(path, out, KEY, by="me@here", wall=lambda: START)
    assert (made.new, path.read_bytes()) == (True, log())
    assert [each.seal for each in read_detached(out, asked=True)] == [made.seal]
    assert not seal_elsewhere(path, out, KEY, by="me@here").new
    path.write_bytes(reconciled(log()))
    assert seal_elsewhere(path, out, KEY, by="me@here").new
    path.write_bytes(reconciled(log())[:-5])
    with pytest.raises(UnfinishedError, match="torn"):
        seal_elsewhere(path, tmp_path / "another.json", KEY, by="me@here")
    with pytest.raises(UsageError, match="can't be written"):
        seal_elsewhere(written(tmp_path, log()), tmp_path / "none" / "out.json", KEY, by="me@here")


def test_a_log_under_the_name_of_another_run_does_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "20261124T080000Z-0000.jsonl"
    path.write_bytes(SEALED)
    reading, check = read_sealed(path, KEYS)
    assert check.find_fault(reading) == f"it is the log of another run, {RUN_ID}"
    path = written(tmp_path, SEALED)
    assert read_sealed(path, KEYS)[1].broken is None


def test_what_is_signed_is_a_statement_of_its_own_kind_in_canonical_json() -> None:
    seal = seal_of(log())
    head, _, rest = seal.statement.partition(b"\n")
    assert head == b"orchestrator audit seal v1"
    assert rest.startswith(b'{"algorithm":"ed25519","by":"me@here","covers":{"bytes":')
    KEY.public_key().verify(seal.signature, seal.statement)
    changes: list[dict[str, Any]] = [
        {"run_id": "x"},
        {"sealed_at": "x"},
        {"by": "x"},
        *({"covers": replace(seal.covers, **{name: value})} for name, value in _other(seal.covers)),
    ]
    assert not any(replace(seal, **change).is_by(KEY.public_key()) for change in changes)
    assert not seal.is_by(OTHER.public_key())


def _other(covers: Covers) -> itertools.chain[tuple[str, Any]]:
    numbers = ((name, getattr(covers, name) + 1) for name in ("seq", "lines", "bytes"))
    return itertools.chain(numbers, (("hash", "0"), ("sha256", "0")))


@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_a_file_of_any_kind_in_the_place_of_a_seal_is_none(data: bytes) -> None:
    assert parse_detached(data) is None


FINE = seal_of(log()).document()


def test_a_seal_in_a_file_has_its_format_its_version_and_its_run() -> None:
    document = seal_of(log()).document()
    assert Seal.from_document(document) == seal_of(log())
    assert (document["format"], document["v"], document["run_id"]) == ("orchestrator audit seal", 1, RUN_ID)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"algorithm": "rsa"}, "its algorithm is not ed25519"),
        ({"by": None}, "a required field is missing"),
        ({"signature": "ab\ncd"}, "its signature is not base64"),
        ({"covers": None}, "its field covers is missing or invalid"),
        ({"covers": {"seq": 1}}, "its field covers is missing or invalid"),
        ({"covers": seal_of(log()).covers.document() | {"seq": True}}, "its field covers is missing or invalid"),
    ],
    ids=["algorithm", "no author", "no base64", "no extent", "half an extent", "a truth value for a number"],
)
def test_a_document_that_is_no_seal_is_refused_with_the_reason(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Seal.from_document({**FINE, **changed})
