"""`audit export`: no character of a name controls a terminal, and all values stay the same."""

import json
import unicodedata
from pathlib import Path

import pytest

from orchestrator.audit.log import AuditLog
from orchestrator.audit.record import compute_hash
from orchestrator.audit.replay import RunState
from orchestrator.audit.verify import read_log
from orchestrator.cli.handlers.audit_export import export_logs

RUN_ID = "20261123T080000Z-4f2a"
HIDDEN = "".join(chr(code) for code in range(0x11000) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Zl", "Zp"})
"""Every control, format (bidi among them) and separating character of the planes in use."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / f"{RUN_ID}.jsonl"
    fields: dict[str, object] = {"playbook": {"name": f"démo{HIDDEN}"}, "actor": f"ann{HIDDEN}@desk"}
    AuditLog.create(path, RUN_ID, [("run.started", fields)]).close()
    return path


@pytest.mark.parametrize("form", ["ecs", "jsonl", "csv"])
def test_no_hidden_character_leaves_in_any_format(log: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    assert export_logs((str(log),), None, (), form=form, out=out, since=None, every=False, even_altered=False) == 0
    text = out.read_bytes().decode()
    assert not set(HIDDEN) & set(text) - {"\n"}
    assert "ann" in text


def test_the_records_of_an_export_have_the_hashes_that_they_bear(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_logs((str(log),), None, (), form="jsonl", out=out, since=None, every=False, even_altered=False)
    state = RunState()
    read_log(log, state.apply_record)
    (line,) = out.read_text("ascii").splitlines()
    record = json.loads(line)
    assert record == state.started.record
    claimed = record.pop("hash")
    assert compute_hash(record) == claimed
