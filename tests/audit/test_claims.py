"""Claims on CVMs: which overlap, when a claim ends, and what an ended claim tells the next run."""

import os
import time
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.claims import Claim, FileClaimStore
from orchestrator.audit.store import FileRunStore
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError, SettingsError

CLOUD = "https://cloud.example/api/v1"
A, B, C = (CvmRef(f"cvm_{number}", f"0000000{number}-0000", f"web-{number}") for number in range(1, 4))
ONE, TWO = "20261123T080000Z-0001", "20261123T080000Z-0002"


@pytest.fixture
def claims(tmp_path: Path) -> FileClaimStore:
    (tmp_path / "runs").mkdir()
    return FileClaimStore(FileRunStore(tmp_path))


def is_refused(claims: FileClaimStore, *refs: CvmRef, cloud: str = CLOUD) -> bool:
    try:
        claims.create_claim(TWO, cloud, refs).release(has_ended=True)
    except ClaimedError as error:
        return error.run_ids == (ONE,)
    return False


def test_a_cvm_is_claimed_by_one_live_run(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A, B]):
        assert is_refused(claims, B, C)
        assert not is_refused(claims, C)
        assert claims.is_any_live([ONE])
    assert not is_refused(claims, B, C)
    assert not claims.is_any_live([ONE])


@pytest.mark.parametrize(
    "same",
    [CvmRef("cvm_1", None, "renamed"), CvmRef(None, "00000001-0000", "legacy"), CvmRef(None, "000000010000", "")],
)
def test_a_cvm_is_known_by_hashid_or_uuid(claims: FileClaimStore, same: CvmRef) -> None:
    with claims.create_claim(ONE, CLOUD, [A]):
        assert is_refused(claims, same)


def test_another_cloud_is_another_matter(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]):
        assert not is_refused(claims, A, cloud="http://127.0.0.1:1/api/v1")


def test_a_run_cannot_be_claimed_twice(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]), pytest.raises(ClaimedError):
        claims.create_claim(ONE, CLOUD, [C])


def test_a_narrowed_claim_leaves_the_rest_to_others_until_it_is_widened(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A, B]) as claim:
        claim.keep_only([A])
        assert is_refused(claims, A)
        assert not is_refused(claims, B)


def test_widening_waits_for_the_run_that_came_between(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A, B]) as claim:
        claim.keep_only([A])
        other = claims.create_claim(TWO, CLOUD, [B])
        reasons: list[str] = []

        def waiting(reason: str) -> None:
            reasons.append(reason)
            other.release(has_ended=True)

        assert anyio.run(claim.claim_again, 2.0, waiting) == 0.0
        assert [TWO in reason for reason in reasons] == [True]
        assert is_refused(claims, B)


@pytest.mark.parametrize(("has_ended", "expected"), [(True, None), (False, 1.0)])
def test_a_run_that_died_lately_has_its_statuses_waited_for(
    claims: FileClaimStore, has_ended: bool, expected: float | None
) -> None:
    claims.create_claim(ONE, CLOUD, [A]).release(has_ended=has_ended)
    time_of_plan = time.time() + 1.0
    with claims.create_claim(TWO, CLOUD, [A]) as claim:
        wait = claim.wait_before_reading(time_of_plan, recheck_after=60.0)
        assert (wait is None) if expected is None else (wait is not None and 50.0 < wait <= 60.0)
        assert claim.wait_before_reading(time_of_plan + 120.0, recheck_after=60.0) is None
    with claims.create_claim(TWO, CLOUD, [C]) as claim:
        assert claim.wait_before_reading(0.0, recheck_after=60.0) is None


def test_statuses_from_before_another_run_ended_are_read_again(claims: FileClaimStore) -> None:
    time_of_plan = time.time() - 5.0
    claims.create_claim(ONE, CLOUD, [A]).release(has_ended=True)
    with claims.create_claim(TWO, CLOUD, [A]) as claim:
        assert claim.wait_before_reading(time_of_plan, recheck_after=2.0) == 0.0


def test_a_live_run_that_is_ignored_has_statuses_read_again(claims: FileClaimStore) -> None:
    with claims.create_claim(ONE, CLOUD, [A]), claims.create_claim(TWO, CLOUD, [A], ignore_running=True) as claim:
        assert claim.wait_before_reading(time.time() + 9.0, recheck_after=2.0) == 0.0


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


def test_a_second_release_does_nothing(claims: FileClaimStore) -> None:
    claim: Claim = claims.create_claim(ONE, CLOUD, [A])
    claim.release(has_ended=True)
    claim.release(has_ended=False)
    with claims.create_claim(TWO, CLOUD, [A]) as later:
        assert later.wait_before_reading(time.time() + 1, recheck_after=60.0) is None, "the run still counts as ended"


def test_a_batch_counts_claims_of_others_and_its_own(claims: FileClaimStore) -> None:
    with claims.create_claim("20261123T080000Z-0009", CLOUD, [C]):
        with claims.open_batch() as batch:
            with pytest.raises(ClaimedError):
                batch.create_claim(TWO, CLOUD, [B, C])
            first = batch.create_claim(ONE, CLOUD, [A, B])
            with pytest.raises(ClaimedError) as refused:
                batch.create_claim(TWO, CLOUD, [B])
            assert refused.value.run_ids == (ONE,)
            batch.create_claim(TWO, CLOUD, [B], ignore_running=True).release(has_ended=True)
        assert is_refused(claims, A)
        first.release(has_ended=True)
        assert not is_refused(claims, A)


def test_a_claim_with_odd_entries_blocks_no_other_claim(claims: FileClaimStore, tmp_path: Path) -> None:
    with claims.create_claim(ONE, CLOUD, [A]):
        text = '{"v":1,"run_id":"x","cloud_url":"%s","ended":false,"cvms":[[["cvm_1"],{},null]]}'
        (tmp_path / "claims" / "odd.json").write_text(text % CLOUD, encoding="ascii")
        assert is_refused(claims, A)
        assert not is_refused(claims, B)
