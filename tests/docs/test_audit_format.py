"""The format of the audit log is what the docs say, for anybody who has nothing but the docs."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.audit.record import GENESIS, Chain, compute_hash, encode_canonical
from tests.docs.pages import ROOT, blocks
from tests.logs import build_log

REFERENCE = ROOT / "docs/reference/audit-log.md"
VECTOR = (
    '{"event":"run.started","playbook":{"name":"démo"},"prev":"' + "0" * 64 + '",'
    '"run_id":"20261123T080000Z-4f2a","seq":1,"ts":"2026-11-23T08:00:00.000000Z","v":1}'
)
HASH = "febb096c4dc60de5d112cfd96d99e24ebd2c625d3869220e9ea1095e0fa4a581"


def test_the_vector_holds_for_plain_hashlib() -> None:
    """SHA-256 over the canonical bytes is the hash of the contract, and both stand in the reference."""
    assert hashlib.sha256(VECTOR.encode()).hexdigest() == HASH
    assert VECTOR in REFERENCE.read_text(encoding="utf-8")
    assert HASH in REFERENCE.read_text(encoding="utf-8")


def test_the_vector_holds_for_the_code() -> None:
    """The code writes those bytes for that record, and gives it that hash, whether it has a `hash` already or not."""
    record = json.loads(VECTOR)
    assert encode_canonical(record) == VECTOR.encode()
    assert compute_hash(record) == HASH
    assert compute_hash({**record, "hash": "anything"}) == HASH
    assert record["prev"] == GENESIS


def test_a_sealed_record_is_the_vector() -> None:
    """The first record of a chain, at that moment and with those fields, has that hash."""
    chain = Chain("20261123T080000Z-4f2a")
    record, line = chain.append("run.started", {"playbook": {"name": "démo"}}, datetime(2026, 11, 23, 8, tzinfo=UTC))
    assert record["hash"] == HASH
    assert line.endswith(b"\n")


def documented_check(path: Path) -> None:
    """Run the Python that the reference gives for checking a log."""
    (block,) = [block for block in blocks("python") if block.page == REFERENCE]
    exec(compile(block.text, str(block), "exec"), {"path": path})  # noqa: S102 - it is our own page


def log_at(path: Path) -> list[str]:
    """Write a log of three records."""
    fields: dict[str, object] = {"cvm": {"name": "wörker <1>"}, "status": None}
    story = [(event, fields) for event in ("run.started", "run.planned", "run.finished")]
    lines = [line.decode() for _, line in build_log(story)]
    path.write_text("".join(lines), encoding="utf-8")
    return lines


def test_the_documented_check_accepts_what_the_code_writes(tmp_path: Path) -> None:
    """The few lines of Python in the reference pass over a log of the code."""
    log_at(tmp_path / "log.jsonl")
    documented_check(tmp_path / "log.jsonl")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_documented_check_names_the_altered_line(tmp_path: Path, number: int) -> None:
    """The same lines stop at the line in which one word was changed."""
    path = tmp_path / "log.jsonl"
    lines = log_at(path)
    lines[number] = lines[number].replace("wörker", "wurker")
    path.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(AssertionError, match=re.escape(f"line {number + 1}")):
        documented_check(path)
