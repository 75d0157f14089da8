"""Claims in files: the contract of claims, and unusable files."""

import os
import time
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.claims import FileClaimBatch, FileClaimStore, Overlap, refuse_live
from orchestrator.audit.store import FileRunStore
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError, SettingsError
from tests.claim_contract import CLOUD, ONE, TWO, A, B, C, ClaimContract, is_refused


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


def overlaps_of(claims: FileClaimStore, *refs: CvmRef) -> list[Overlap]:
    with claims.hold_lock():
        return FileClaimBatch(claims).list_overlaps(CLOUD, refs, without=claims.claim_file("nobody"))


def test_an_overlap_names_the_shared_cvms_alone_and_the_run_with_its_state(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A, B, C]):
        (found,) = overlaps_of(claims, B, CvmRef(None, C.vm_uuid, "by uuid"))
        assert (found.run_id, found.cvms, found.is_live, found.has_ended) == (ONE, ("web-2", "web-3"), True, False)
        assert abs(found.last_at - time.time()) < 60
    (found,) = overlaps_of(claims, CvmRef(A.id, None, "by hashid"))
    assert (found.cvms, found.is_live, found.has_ended) == (("web-1",), False, False), "a block may leave open requests"
    claims.create_claim(ONE, CLOUD, [A]).release(has_ended=True)
    assert overlaps_of(claims, A)[0].has_ended
    assert overlaps_of(claims, B) == []


def test_a_cvm_without_a_uuid_is_shared_with_no_other_cvm_without_one(claims: FileClaimStore) -> None:
    bare = [CvmRef(f"cvm_{letter}", None, letter) for letter in "xy"]
    with claims.create_claim(ONE, CLOUD, bare[:1]):
        assert overlaps_of(claims, bare[1]) == overlaps_of(claims, CvmRef("None", None, "")) == []
        assert overlaps_of(claims, CvmRef(None, "None", "odd")) == []


def test_the_last_sign_of_life_of_a_run_is_the_later_time_of_its_claim_and_its_log(
    claims: FileClaimStore, tmp_path: Path
) -> None:
    claims.create_claim(ONE, CLOUD, [A]).release(has_ended=False)
    now, path = time.time(), claims.claim_file(ONE)
    log = tmp_path / "runs" / f"{ONE}.jsonl"
    log.touch()
    for claim_at, log_at in ((now - 100, now - 50), (now - 50, now - 100)):
        os.utime(path, (claim_at, claim_at))
        os.utime(log, (log_at, log_at))
        assert overlaps_of(claims, A)[0].last_at == pytest.approx(now - 50, abs=0.01)


def test_the_refusal_names_each_live_run_with_its_cvms_and_the_ways_out(claims: FileClaimStore) -> None:
    three = "20261123T080000Z-0003"
    with (
        claims.create_claim(ONE, CLOUD, [A, B]),
        claims.create_claim(TWO, CLOUD, [C]),
        pytest.raises(ClaimedError) as caught,
    ):
        claims.create_claim(three, CLOUD, [A, B, C])
    assert caught.value.message == (
        f"another run is acting on the same CVMs: run {ONE} (2 CVMs: web-1, web-2); run {TWO} (1 CVM: web-3)"
    )
    assert caught.value.hint == (
        "wait for the end of that run, or add --ignore-running to act on these CVMs all the same: "
        "two runs can act, and bill, twice"
    )
    assert caught.value.run_ids == (ONE, TWO)


def test_the_refusal_of_a_second_process_of_a_run_says_so(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]), pytest.raises(ClaimedError) as caught:
        claims.create_claim(ONE, CLOUD, [A])
    assert (caught.value.message, caught.value.hint) == ("another process executes this run", "wait for its end")


def test_a_refused_second_process_leaves_no_file_open(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]):
        before = len(list(Path("/dev/fd").iterdir()))
        with pytest.raises(ClaimedError):
            claims.create_claim(ONE, CLOUD, [B])
        assert len(list(Path("/dev/fd").iterdir())) == before


def test_no_run_counts_as_live_while_another_command_holds_the_lock(
    claims: FileClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.audit.claims._LOCK_PAUSE_S", 0)
    with claims.create_claim(ONE, CLOUD, [A]):
        assert claims.is_any_live([ONE])
        with claims.hold_lock():
            assert not claims.is_any_live([ONE])


def test_a_claim_ends_even_if_its_end_cannot_be_written(
    claims: FileClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = claims.create_claim(ONE, CLOUD, [A])
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda _fd, data, _place: len(data) - 1)
        claim.release(has_ended=True)
    (found,) = overlaps_of(claims, A)
    assert (found.is_live, found.has_ended) == (False, False)


def test_a_claim_that_cannot_be_written_is_named_with_its_place_and_the_remedy(
    claims: FileClaimStore, tmp_path: Path
) -> None:
    with claims.open_batch() as batch:
        claims.claim_file(ONE).mkdir()
        with pytest.raises(SettingsError) as caught:
            batch.create_claim(ONE, CLOUD, [A])
    assert caught.value.message == "cannot claim CVMs: Is a directory"
    assert caught.value.file == str(tmp_path / "claims" / f"{ONE}.json")
    assert caught.value.hint == "nothing was sent; set ORCHESTRATOR_STATE_DIR to a folder that can be written"


def test_a_full_disk_is_named_as_such_and_leaves_no_claim(
    claims: FileClaimStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", lambda _fd, data, _place: len(data) - 1)
    with pytest.raises(SettingsError, match="cannot claim CVMs: No space left on device"):
        claims.create_claim(ONE, CLOUD, [A])
    monkeypatch.undo()
    assert not claims.is_any_live([ONE])
    assert not is_refused(claims, A)


def test_a_run_lives_by_its_own_claim_whatever_stands_in_the_place_of_others(
    claims: FileClaimStore, tmp_path: Path
) -> None:
    assert not claims.is_any_live([ONE]), "there is no folder yet"
    with claims.create_claim(ONE, CLOUD, [A]):
        claims.claim_file(TWO).symlink_to(claims.claim_file(ONE))
        assert not claims.is_any_live([TWO]), "a link is no claim"
        assert overlaps_of(claims, A)[0].run_id == ONE
        assert len(overlaps_of(claims, A)) == 1
        assert claims.is_any_live([TWO, "20261123T080000Z-0009", ONE])
        odd = claims.claim_file("../../etc/passwd")
        assert (odd.parent, len(odd.stem)) == (tmp_path / "claims", 64)
        assert claims.claim_file("../other") != odd


def test_a_shorter_claim_of_a_run_replaces_its_longer_one(claims: FileClaimStore) -> None:
    many = [CvmRef(f"cvm_{number:04}", None, f"web-{number}") for number in range(100)]
    claims.create_claim(ONE, CLOUD, many).release(has_ended=False)
    with claims.create_claim(ONE, CLOUD, [A]) as claim:
        claim.keep_only([])
        assert overlaps_of(claims, A) == []
        claim.keep_only([A])
        assert overlaps_of(claims, many[0]) == []
        assert is_refused(claims, A)
    text = claims.claim_file(ONE).read_bytes()
    assert text.startswith(b'{"v": 1, "run_id": "'), "the file never shrinks, and begins with the claim"


def test_a_claim_stays_wide_if_it_can_not_be_narrowed(claims: FileClaimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with claims.create_claim(ONE, CLOUD, [A, B]) as claim:
        for error in (OSError(28, "no space"), ClaimedError("held")):

            def fail(*_arguments: object, error: Exception = error) -> int:
                raise error

            monkeypatch.setattr(os, "pwrite", fail)
            claim.keep_only([A])
            monkeypatch.undo()
            assert is_refused(claims, B)


def test_widening_says_once_why_it_waits(claims: FileClaimStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.audit.claims._LOOK_EVERY_S", 0.001)
    with claims.create_claim(ONE, CLOUD, [A, B]) as claim:
        claim.keep_only([A])
        other, reasons, refusals = claims.create_claim(TWO, CLOUD, [B]), list[str](), list[int]()

        def refuse(overlaps: list[Overlap]) -> None:
            refusals.append(1)
            if len(refusals) == 3:
                other.release(has_ended=True)
            refuse_live(overlaps)

        monkeypatch.setattr("orchestrator.audit.claims.refuse_live", refuse)
        anyio.run(claim.claim_again, 2.0, reasons.append)
        assert len(reasons) == 1
        assert "another run is acting on the same CVMs" in reasons[0]


def test_widening_ignores_live_runs_if_the_claim_did(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]), claims.create_claim(TWO, CLOUD, [A], ignore_running=True) as claim:
        claim.keep_only([])
        assert anyio.run(claim.claim_again, 2.0, pytest.fail) == 0.0
