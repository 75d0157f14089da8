"""One record: its bytes and its hash are the same to the letter, however they are put together."""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.audit.record import GENESIS, Chain, clean_value, compute_hash, encode_canonical, hash_record
from orchestrator.audit.verify import Verdict
from tests.logs import RUN_ID, START, check_log


class Word(StrEnum):
    HALF = "half"


AROUND = st.sampled_from(["has", "hasg", "hash!", "hash\x00", "hashes", "hasi", "http_status", "", "\U0010ffff"])
KEYS = AROUND | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.just("hash"), inner, max_size=4),
    max_leaves=12,
)
HALVES = st.text(st.characters(categories=["Cs", "Lu", "Cc"]))
ANYTHING = st.recursive(
    JSON | HALVES | st.sampled_from(Word) | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.tuples(inner, inner)
        | st.dictionaries(st.integers() | HALVES | st.sampled_from(Word), inner, max_size=3)
        | st.dictionaries(HALVES, inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=12,
)


def plainly(value: object) -> bytes:
    """Canonical JSON as the contract has it, by nothing but the standard library."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


@given(st.dictionaries(KEYS, JSON, max_size=8), JSON)
def test_a_record_that_is_written_once_has_the_bytes_and_the_hash_of_one_written_twice(
    record: dict[str, object], earlier: object
) -> None:
    found, line = hash_record(record)
    assert found == hashlib.sha256(plainly(record)).hexdigest()
    assert line == plainly({**record, "hash": found}) == encode_canonical({**record, "hash": found})
    assert hash_record({**record, "hash": earlier}) == (found, line)
    assert compute_hash({**record, "hash": earlier}) == found


@given(JSON)
def test_what_is_plain_json_already_is_not_changed(value: object) -> None:
    assert clean_value(value) == value
    assert plainly(clean_value(value)) == plainly(value)


def test_what_is_clean_already_is_not_copied() -> None:
    cvm = {"id": "cvm_1", "name": "wéb", "teepod_id": 1, "rates": [1.5, None, True]}
    assert clean_value(cvm) is cvm


@given(st.dictionaries(st.text("abghijz"), ANYTHING, max_size=5))
def test_any_record_that_is_sealed_is_read_back_whole_and_as_it_was_told(fields: dict[str, object]) -> None:
    fields.pop("hash", None)
    record, line = Chain(RUN_ID).append("action.failed", fields, START)
    assert check_log(line).verdict is Verdict.UNFINISHED
    assert plainly(json.loads(line)) == plainly(record) == line.rstrip()
    assert {key: record[key] for key in fields} == {key: clean_value(value) for key, value in fields.items()}


@pytest.mark.parametrize(
    ("told", "written"),
    [
        (Decimal("0.10"), "0.10"),
        (Decimal("1E+3"), "1000"),
        ((1, Decimal(2)), [1, "2"]),
        ({2: "b", 10: "a"}, {"2": "b", "10": "a"}),
        ({"a": {Word.HALF: "\ud800"}}, {"a": {"half": "\\ud800"}}),
        ({"a": "\ud800", "b": "ok"}, {"a": "\\ud800", "b": "ok"}),
        (["ok", "\udfff"], ["ok", "\\udfff"]),
        (MappingProxyType({"a": "é"}), {"a": "é"}),
        ({"\ud800": 1}, {"\\ud800": 1}),
    ],
)
def test_a_value_that_json_cannot_hold_is_written_in_words(told: object, written: object) -> None:
    assert clean_value(told) == written
    assert not isinstance(told, Mapping) or type(clean_value(told)) is dict


def test_each_record_continues_the_chain_from_the_first() -> None:
    chain = Chain(RUN_ID)
    records = [chain.append("action.failed", {"n": n}, START + timedelta(seconds=n))[0] for n in range(3)]
    assert [record["seq"] for record in records] == [1, 2, 3]
    assert [record["prev"] for record in records] == [GENESIS, records[0]["hash"], records[1]["hash"]]
    assert [record["ts"][17:19] for record in records] == ["00", "01", "02"]
    assert records[0].keys() == {"v", "seq", "ts", "run_id", "event", "prev", "hash", "n"}
    assert {(record["v"], record["run_id"], record["event"]) for record in records} == {(1, RUN_ID, "action.failed")}


def test_a_clock_set_back_gives_no_earlier_timestamp() -> None:
    chain = Chain(RUN_ID)
    first, second = (chain.append("action.failed", {}, START - timedelta(seconds=n))[0] for n in range(2))
    assert second["ts"] == first["ts"]


def test_a_chain_goes_on_from_the_end_of_a_log() -> None:
    record, _ = Chain(RUN_ID, 7, "f" * 64, "2026-11-23T09:00:00.000000Z").append("action.failed", {}, START)
    assert (record["seq"], record["prev"], record["ts"]) == (8, "f" * 64, "2026-11-23T09:00:00.000000Z")


def test_a_record_has_its_values_as_plain_json_and_shares_values_that_are_plain_already() -> None:
    plain = {"id": "cvm_1"}
    fields = {"usd": Decimal("0.10"), "half": "\ud800", "word": Word.HALF, "cvm": plain}
    record, _ = Chain(RUN_ID).append("action.failed", fields, START)
    assert (record["usd"], record["half"], record["word"]) == ("0.10", "\\ud800", "half")
    assert type(record["word"]) is str
    assert record["cvm"] is plain
