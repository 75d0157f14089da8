"""Claims in files: the contract of claims, and unusable files."""

import os
from pathlib import Path

import pytest

from orchestrator.audit.claims import FileClaimStore
from orchestrator.audit.store import FileRunStore
from orchestrator.errors import SettingsError
from tests.claim_contract import CLOUD, ONE, A, B, ClaimContract, is_refused


@pytest.fixture
def claims(tmp_path: Path) -> FileClaimStore:
    (tmp_path / "runs").mkdir()
    return FileClaimStore(FileRunStore(tmp_path))


class TestFileClaims(ClaimContract):
    """The contract over files."""


def test_a_file_that_is_no_claim_claims_nothing_and_old_claims_are_removed(
    claims: FileClaimStore, tmp_path: Path
) -> None:
    folder = tmp_path / "claims"
    claims.create_claim(ONE, CLOUD, [A]).release(has_ended=False)
    for name, content in (("a", b""), ("b", b"[]"), ("c", b'{"cloud_url": 1}'), ("d", b"\xff")):
        (folder / f"{name}.json").write_bytes(content)
    os.utime(folder / f"{ONE}.json", (0, 0))
    assert not is_refused(claims, A)
    assert not (folder / f"{ONE}.json").exists()


def test_a_claim_that_cannot_be_written_is_an_error(claims: FileClaimStore, tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("no folder")
    with pytest.raises(SettingsError, match="cannot claim CVMs"):
        claims.create_claim(ONE, CLOUD, [A])


def test_a_claim_with_odd_entries_blocks_no_other_claim(claims: FileClaimStore, tmp_path: Path) -> None:
    with claims.create_claim(ONE, CLOUD, [A]):
        text = '{"v":1,"run_id":"x","cloud_url":"%s","ended":false,"cvms":[[["cvm_1"],{},null]]}'
        (tmp_path / "claims" / "odd.json").write_text(text % CLOUD, encoding="ascii")
        assert is_refused(claims, A)
        assert not is_refused(claims, B)
