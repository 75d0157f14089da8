"""The check of a log: every change is found, and named with its line and its fault."""

import hashlib
import json
from copy import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.audit.record import GENESIS, Record, compute_hash, encode_canonical, hash_record
from orchestrator.audit.verify import Verdict, read_log
from tests.logs import RUN_ID, START, STORY, check_log, lines, log

WHOLE = log()
LINES = lines()


def test_the_published_test_vector_holds() -> None:
    record = {
        "v": 1,
        "seq": 1,
        "ts": "2026-11-23T08:00:00.000000Z",
        "run_id": RUN_ID,
        "event": "run.started",
        "playbook": {"name": "démo"},
        "prev": GENESIS,
    }
    assert encode_canonical(record).startswith('{"event":"run.started","playbook":{"name":"démo"},"prev":"000'.encode())
    assert compute_hash(record) == "febb096c4dc60de5d112cfd96d99e24ebd2c625d3869220e9ea1095e0fa4a581"


def test_a_log_as_written_is_whole_and_without_its_end_it_is_unfinished() -> None:
    assert check_log(WHOLE).verdict is Verdict.WHOLE
    assert check_log(b"".join(LINES[:-1])).verdict is Verdict.UNFINISHED
    assert check_log(b"").verdict is Verdict.UNFINISHED


@given(st.integers(0, len(WHOLE) - 2), st.integers(1, 255))
def test_any_byte_that_is_changed_is_named_by_its_line(position: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[position] ^= change
    reading = check_log(bytes(data))
    line = WHOLE.count(b"\n", 0, position) + 1
    assert reading.verdict is Verdict.ALTERED
    assert reading.line == line


@given(st.integers(0, len(WHOLE) - 2), st.binary(min_size=1, max_size=40))
def test_any_bytes_that_are_put_in_are_found(position: int, extra: bytes) -> None:
    data = WHOLE[:position] + extra + WHOLE[position:]
    if data != WHOLE:
        reading = check_log(data)
        assert reading.verdict is Verdict.ALTERED
        assert (reading.line or 0) <= WHOLE.count(b"\n", 0, position) + 1


@given(st.integers(0, len(WHOLE) - 2), st.integers(1, 200))
def test_any_bytes_that_are_taken_out_are_found(position: int, size: int) -> None:
    data = WHOLE[:position] + WHOLE[position + size :]
    reading = check_log(data)
    assert reading.verdict is not Verdict.WHOLE
    if position + size < len(WHOLE):
        assert reading.verdict is Verdict.ALTERED


@given(st.permutations(range(len(LINES))))
def test_lines_in_any_other_order_are_found(order: list[int]) -> None:
    data = b"".join(LINES[index] for index in order)
    reading = check_log(data)
    if order == sorted(order):
        assert reading.verdict is Verdict.WHOLE
    else:
        first = next(index for index, line in enumerate(order) if index != line)
        assert (reading.verdict, reading.line) == (Verdict.ALTERED, first + 1)


@given(st.sets(st.integers(0, len(LINES) - 2), min_size=1))
def test_any_lines_that_are_left_out_are_found(gone: set[int]) -> None:
    reading = check_log(b"".join(line for index, line in enumerate(LINES) if index not in gone))
    assert (reading.verdict, reading.line) == (Verdict.ALTERED, min(gone) + 1)


@given(st.integers(0, len(LINES) - 1), st.integers(0, len(LINES) - 1))
def test_a_line_that_stands_twice_is_found(which: int, where: int) -> None:
    doubled = [*LINES[:where], LINES[which], *LINES[where:]]
    assert check_log(b"".join(doubled)).verdict is Verdict.ALTERED


@given(st.integers(1, len(WHOLE) - 1))
def test_a_log_that_was_cut_off_anywhere_is_torn_or_unfinished_and_keeps_its_whole_records(size: int) -> None:
    reading = check_log(WHOLE[:size])
    whole = WHOLE[:size].count(b"\n")
    assert reading.verdict in {Verdict.TORN, Verdict.UNFINISHED}
    assert reading.records in {whole, whole + 1}
    assert reading.verdict is Verdict.UNFINISHED or reading.line == whole + 1


def test_a_record_after_the_last_one_is_allowed_only_when_it_is_about_the_finished_run() -> None:
    assert check_log(log([*STORY, ("billing.reconciled", {})])).verdict is Verdict.WHOLE
    reading = check_log(log([*STORY, ("action.intent", {})]))
    assert (reading.verdict, reading.line) == (Verdict.ALTERED, len(STORY) + 1)


def test_a_rewritten_tail_with_fresh_hashes_but_another_run_id_is_found() -> None:
    other = log().replace(RUN_ID.encode(), b"20261123T080000Z-ffff")
    assert check_log(b"".join(LINES[:3]) + b"\n".join(other.split(b"\n")[3:])).verdict is Verdict.ALTERED


@pytest.mark.parametrize(
    "line",
    [b"null", b"[]", b"{}", b'{"a":NaN}', b'{"a":1e999}', b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"\x00" * 20, b""],
)
def test_lines_of_any_kind_are_refused_without_a_fault(line: bytes) -> None:
    reading = check_log(WHOLE[:-1] + b"\n" + line + b"\n" + LINES[-1])
    assert (reading.verdict, reading.line) == (Verdict.ALTERED, len(LINES) + 1)


def test_a_torn_line_counts_as_one_only_when_the_resume_after_it_names_it() -> None:
    whole, torn = b"".join(LINES[:4]), LINES[4][:50]
    reading = check_log(whole + torn)
    assert (reading.verdict, reading.line) == (Verdict.TORN, 5)
    assert reading.torn is not None
    assert reading.torn.document() == {"line": 5, "bytes": 50, "sha256": hashlib.sha256(torn).hexdigest()}
    resumed = reading.chain.append("run.resumed", {"torn": reading.torn.document()}, START)[1]
    assert check_log(whole + torn + b"\n" + resumed).verdict is Verdict.UNFINISHED
    for changed in (torn[:-1] + b"#", torn + b"x", LINES[4].rstrip()):
        assert check_log(whole + changed + b"\n" + resumed).verdict is Verdict.ALTERED


def test_an_edited_last_line_is_altered_not_torn_even_without_its_newline() -> None:
    edited = LINES[-1].replace(b'"exit_code":6', b'"exit_code":0')
    assert check_log(b"".join(LINES[:-1]) + edited).verdict is Verdict.ALTERED
    assert check_log(b"".join(LINES[:-1]) + edited.rstrip()).verdict is Verdict.ALTERED


def changed(line: bytes, **fields: object) -> bytes:
    """Return the line of a record with changed fields and a hash made anew; None removes a field."""
    record = {**json.loads(line), **fields}
    return hash_record({key: value for key, value in record.items() if value is not None})[1] + b"\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"}\n", "it can't be read"),
        (b"}\n" + LINES[2], "the line can't be read, and the next record does not name the line as torn"),
        (b"[]\n", "it is not a record"),
        (LINES[2].replace(b'"attempt":1', b'"attempt":2'), "its content does not match its hash"),
        (LINES[2].replace(b":", b": ", 1), "it is not canonical JSON"),
        (changed(LINES[2], seq=7), "its seq is 7 where 3 belongs"),
        (changed(LINES[2], prev=GENESIS), "its prev is not the hash of the record before it"),
        (changed(LINES[2], v=2), "a required field is missing"),
        (changed(LINES[2], ts=None), "a required field is missing"),
        (changed(LINES[2], event=None), "a required field is missing"),
        (changed(LINES[2], run_id="20261123T080000Z-ffff"), "it belongs to another run"),
    ],
)
def test_an_altered_line_is_named_with_its_fault(line: bytes, reason: str) -> None:
    reading = check_log(b"".join(LINES[:2]) + line)
    assert (reading.verdict, reading.line) == (Verdict.ALTERED, 3)
    assert reading.reason == reason


def test_each_checked_record_before_the_altered_line_is_passed_on() -> None:
    taken: list[Record] = []
    check_log(b"".join(LINES[:3]) + b"[]\n", taken.append)
    assert taken == [json.loads(line) for line in LINES[:3]]


def test_a_log_without_its_last_newline_is_torn_there() -> None:
    reading = check_log(WHOLE[:-1])
    assert (reading.verdict, reading.line, reading.records) == (Verdict.TORN, len(LINES), len(LINES))
    assert reading.torn is None
    assert reading.reason == "its newline is missing"


def test_two_torn_lines_after_a_torn_resume_count_with_the_newline_between() -> None:
    whole, torn = b"".join(LINES[:4]), LINES[4][:50] + b"\n" + LINES[5][:30]
    reading = check_log(whole + torn)
    assert reading.torn is not None
    assert reading.torn.document() == {"line": 5, "bytes": 81, "sha256": hashlib.sha256(torn).hexdigest()}
    assert reading.reason == "it was cut off while it was written"


def test_after_the_end_a_record_about_the_run_names_a_torn_line_and_a_resume_does_not() -> None:
    torn = b'{"event":'
    reading = check_log(WHOLE + torn)
    assert reading.torn is not None
    for event, verdict in (("billing.reconciled", Verdict.WHOLE), ("run.resumed", Verdict.ALTERED)):
        chain = copy(reading.chain)
        line = chain.append(event, {"torn": reading.torn.document()}, START)[1]
        assert check_log(WHOLE + torn + b"\n" + line).verdict is verdict


def test_a_log_is_read_from_its_file_byte_by_byte(tmp_path: Path) -> None:
    path, taken = tmp_path / "log.jsonl", list[Record]()
    path.write_bytes(WHOLE)
    assert read_log(path, taken.append).verdict is Verdict.WHOLE
    assert taken == [json.loads(line) for line in LINES]
    path.write_bytes(WHOLE.replace(b"\n", b"\r\n"))
    assert read_log(path).verdict is Verdict.ALTERED


def test_a_request_after_the_end_and_a_number_outside_json_are_named_as_faults() -> None:
    assert check_log(log([*STORY, ("action.intent", {})])).reason == "action.intent can't follow the last record"
    assert check_log(WHOLE + b'{"a":NaN}\n').reason == "it is not canonical JSON"
