"""The check of a log with its seals: the fault of each wrong seal, its place, and the extent of the good seal."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.keys import key_id
from orchestrator.audit.record import Record
from orchestrator.audit.seal_format import Seal, make_seal
from orchestrator.audit.seal_verify import Detached, SealCheck, check_sealed, read_sealed
from orchestrator.audit.verify import Verdict
from tests.audit.test_seal_format import BOTH, KEY, KEYS, LATER, OTHER, SEALED, appended, reconciled, seal_of, sealed
from tests.logs import RUN_ID, START, STORY, log

LINE = len(STORY) + 1
"""The line of the seal in a sealed log."""


def check(data: bytes, *detached: Seal | None, asked: bool = True, keys: Any = KEYS) -> SealCheck:  # noqa: ANN401 - a mapping
    files = [Detached(Path(f"/far/{number}.json"), each, asked) for number, each in enumerate(detached)]
    return check_sealed(BytesIO(data), keys, files)[1]


def fault_of(data: bytes, *detached: Seal | None, asked: bool = True) -> str | None:
    files = [Detached(Path(f"/far/{number}.json"), each, asked) for number, each in enumerate(detached)]
    reading, found = check_sealed(BytesIO(data), KEYS, files)
    return found.find_fault(reading)


def with_seal(data: bytes, **fields: object) -> bytes:
    """The log with a seal, in which these fields are changed."""
    return appended(data, "run.sealed", {**seal_of(log()).record_fields(), **fields})


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (SEALED, None),
        (log(), "there is no seal"),
        (log(STORY[:-1]), "there is no seal, and the run did not finish, or its end was cut off"),
        (sealed(log(), OTHER), "there is no seal by this key, only by another one"),
        (sealed(log(STORY[:-1]), OTHER), "there is no seal by this key, only by another one"),
        (sealed(sealed(log(), OTHER)), None),
        (with_seal(log(), by="you"), "the signature of this seal is wrong"),
        (with_seal(log(), algorithm="rsa"), "this is no seal: its algorithm is not ed25519"),
        (with_seal(log(), by=7), "this is no seal: a required field is missing"),
        (with_seal(log(), signature="?"), "this is no seal: its signature is not base64"),
        (with_seal(log(), covers=[]), "this is no seal: its field covers is missing or invalid"),
        (with_seal(reconciled(log())), "this seal is of something else than the lines above it"),
    ],
    ids=[
        "sealed",
        "no seal",
        "unfinished",
        "another key",
        "unfinished and another key",
        "both keys",
        "changed",
        "another algorithm",
        "a number for a text",
        "no base64",
        "no extent",
        "another place",
    ],
)
def test_a_log_is_trusted_by_a_valid_seal_and_otherwise_the_fault_is_named(data: bytes, fault: str | None) -> None:
    assert fault_of(data) == fault


def test_the_fault_of_a_seal_in_the_log_has_its_line() -> None:
    assert check(with_seal(log(), by="you")).line == LINE
    assert check(with_seal(log(), signature="?")).line == LINE
    assert check(with_seal(reconciled(log()))).line == LINE + 1


def test_the_first_fault_stays() -> None:
    twice = with_seal(with_seal(log(), signature="?"), by="you")
    assert fault_of(twice, None) == "this is no seal: its signature is not base64"
    assert check(twice, None).line == LINE


def test_a_faulty_seal_is_a_fault_beside_a_good_seal_too() -> None:
    faulty = with_seal(SEALED, by="you")
    assert (check(faulty).good, fault_of(faulty)) == (check(SEALED).good, "the signature of this seal is wrong")


KEPT = seal_of(log())
LONGER = seal_of(reconciled(log()))
FOREIGN = make_seal(KEY, "20261123T080000Z-ffff", KEPT.covers, by="", at=START)


@pytest.mark.parametrize(
    ("seal", "fault"),
    [
        (KEPT, None),
        (None, "0.json is no seal"),
        (seal_of(log(), OTHER), "0.json is by another key"),
        (replace(KEPT, by="you"), "the signature in 0.json is wrong"),
        (FOREIGN, "0.json is of another run, 20261123T080000Z-ffff"),
        (
            LONGER,
            f"0.json is of {len(STORY) + 1} lines, {LONGER.covers.bytes} bytes, and the log does not have all of them",
        ),
        (
            make_seal(KEY, RUN_ID, replace(KEPT.covers, sha256="0" * 64), by="", at=START),
            f"0.json is of something else than the first {len(STORY)} lines",
        ),
        (
            make_seal(KEY, RUN_ID, replace(KEPT.covers, lines=2), by="", at=START),
            "0.json is of something else than the first 2 lines",
        ),
    ],
    ids=["kept", "no seal", "another key", "changed", "another run", "longer", "other bytes", "other lines"],
)
def test_a_seal_in_a_file_is_valid_only_for_the_beginning_of_its_own_log(seal: Seal | None, fault: str | None) -> None:
    found = check(log(), seal)
    assert (fault_of(log(), seal), found.line) == (fault, None)
    assert (found.good, found.file) == ((seal, Path("/far/0.json")) if fault is None else (None, None))


def test_a_seal_by_another_key_is_a_fault_only_in_a_file_that_a_person_named() -> None:
    foreign = seal_of(log(), OTHER)
    assert fault_of(SEALED, foreign, asked=True) == "0.json is by another key"
    assert fault_of(SEALED, foreign, asked=False) is None
    assert fault_of(log(), foreign, asked=False) == "there is no seal by this key, only by another one"
    assert (check(SEALED, foreign).foreign, check(sealed(SEALED, OTHER), foreign).foreign) == (1, 2)


def test_seals_are_counted_with_those_of_other_keys() -> None:
    found = check(sealed(SEALED, OTHER))
    assert (found.found, found.foreign) == (2, 1)
    assert check(sealed(SEALED, OTHER), keys=BOTH).foreign == 0
    assert check(sealed(sealed(SEALED, OTHER), OTHER)).foreign == 2


def test_the_seal_over_the_most_records_counts_wherever_it_is() -> None:
    assert (check(LATER, KEPT).file, check(LATER, KEPT).since) == (None, 0)
    data = reconciled(SEALED, 2)
    whole = seal_of(data)
    for order in ([KEPT, whole], [whole, KEPT]):
        found = check(data, *order)
        assert (found.good, found.since) == (whole, 0)
    assert (check(data, KEPT).good, check(data, KEPT).since) == (check(SEALED).good, 2)


def test_the_first_of_two_seals_over_the_same_records_counts() -> None:
    again = make_seal(KEY, RUN_ID, KEPT.covers, by="later", at=START)
    found = check(log(), KEPT, again)
    assert (found.good, found.file) == (KEPT, Path("/far/0.json"))


def test_a_seal_elsewhere_leaves_out_the_records_after_it() -> None:
    assert [check(reconciled(log(), number), KEPT).since for number in (0, 1, 3)] == [0, 1, 3]
    assert check(log()).since == len(STORY)


def test_the_extent_of_a_log_without_its_last_newline_is_that_of_the_whole_log() -> None:
    assert check(log()[:-1]).covers == check(log()).covers == KEPT.covers
    torn = check(log()[:-5]).covers
    assert torn is not None
    assert (torn.seq, torn.lines) == (len(STORY) - 1, len(STORY))


def test_an_altered_log_has_no_extent_and_its_files_say_nothing_more() -> None:
    altered = SEALED.replace(b'"exit_code":6', b'"exit_code":0')
    reading, found = check_sealed(BytesIO(altered), KEYS, [Detached(Path("x"), None, asked=True)])
    assert reading.verdict is Verdict.ALTERED
    assert (found.covers, found.broken, found.since) == (None, None, 0)


def test_each_record_is_passed_on_the_seals_too() -> None:
    records: list[Record] = []
    check_sealed(BytesIO(SEALED), KEYS, (), records.append)
    assert [each["event"] for each in records] == [*(event for event, _ in STORY), "run.sealed"]


def test_a_key_under_a_wrong_id_vouches_for_no_seal() -> None:
    swapped = {key_id(KEY.public_key()): OTHER.public_key()}
    assert check(SEALED, keys=swapped).broken == "the signature of this seal is wrong"


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        (RUN_ID, SEALED, None),
        ("copy", SEALED, None),
        ("20261123T080000Z-ffff", SEALED, f"it is the log of another run, {RUN_ID}"),
        ("20261123T080000Z-ffff", b"", "there is no seal, and the run did not finish, or its end was cut off"),
    ],
    ids=["own name", "no name of a run", "name of another run", "empty"],
)
def test_a_file_named_after_another_run_is_a_fault(tmp_path: Path, name: str, data: bytes, fault: str | None) -> None:
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(data)
    records: list[Record] = []
    reading, found = read_sealed(path, KEYS, (), records.append)
    assert (found.find_fault(reading), len(records)) == (fault, reading.records)


def test_a_log_read_from_its_file_is_checked_against_the_seals_in_files(tmp_path: Path) -> None:
    path = tmp_path / f"{RUN_ID}.jsonl"
    path.write_bytes(log())
    reading, found = read_sealed(path, KEYS, [Detached(tmp_path / "kept", KEPT, asked=True)])
    assert (found.find_fault(reading), found.file) == (None, tmp_path / "kept")
