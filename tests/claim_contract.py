"""Contract of the stores of claims: which claims overlap, when a claim ends, and what an ended claim tells a later run.

A subclass in a test module provides the fixture `claims`, an empty store.
"""

import time

import anyio
import pytest

from orchestrator.audit.claims import Claim, ClaimStore
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError

CLOUD = "https://cloud.example/api/v1"
A, B, C = (CvmRef(f"cvm_{number}", f"0000000{number}-0000", f"web-{number}") for number in range(1, 4))
ONE, TWO = "20261123T080000Z-0001", "20261123T080000Z-0002"


def is_refused(claims: ClaimStore, *refs: CvmRef, cloud: str = CLOUD) -> bool:
    try:
        claims.create_claim(TWO, cloud, refs).release(has_ended=True)
    except ClaimedError as error:
        return error.run_ids == (ONE,)
    return False


class ClaimContract:
    """Tests of every store of claims."""

    def test_a_cvm_is_claimed_by_one_live_run(self, claims: ClaimStore) -> None:
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
    def test_a_cvm_is_known_by_hashid_or_uuid(self, claims: ClaimStore, same: CvmRef) -> None:
        with claims.create_claim(ONE, CLOUD, [A]):
            assert is_refused(claims, same)

    def test_another_cloud_is_another_matter(self, claims: ClaimStore) -> None:
        with claims.create_claim(ONE, CLOUD, [A]):
            assert not is_refused(claims, A, cloud="http://127.0.0.1:1/api/v1")

    def test_a_run_cannot_be_claimed_twice(self, claims: ClaimStore) -> None:
        with claims.create_claim(ONE, CLOUD, [A]), pytest.raises(ClaimedError):
            claims.create_claim(ONE, CLOUD, [C])

    def test_a_narrowed_claim_leaves_the_rest_to_others_until_it_is_widened(self, claims: ClaimStore) -> None:
        with claims.create_claim(ONE, CLOUD, [A, B]) as claim:
            claim.keep_only([A])
            assert is_refused(claims, A)
            assert not is_refused(claims, B)

    def test_widening_waits_for_the_run_that_came_between(self, claims: ClaimStore) -> None:
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
        self, claims: ClaimStore, has_ended: bool, expected: float | None
    ) -> None:
        claims.create_claim(ONE, CLOUD, [A]).release(has_ended=has_ended)
        time_of_plan = time.time() + 1.0
        with claims.create_claim(TWO, CLOUD, [A]) as claim:
            wait = claim.wait_before_reading(time_of_plan, recheck_after=60.0)
            assert (wait is None) if expected is None else (wait is not None and 50.0 < wait <= 60.0)
            assert claim.wait_before_reading(time_of_plan + 120.0, recheck_after=60.0) is None
        with claims.create_claim(TWO, CLOUD, [C]) as claim:
            assert claim.wait_before_reading(0.0, recheck_after=60.0) is None

    def test_statuses_from_before_another_run_ended_are_read_again(self, claims: ClaimStore) -> None:
        time_of_plan = time.time() - 5.0
        claims.create_claim(ONE, CLOUD, [A]).release(has_ended=True)
        with claims.create_claim(TWO, CLOUD, [A]) as claim:
            assert claim.wait_before_reading(time_of_plan, recheck_after=2.0) == 0.0

    def test_a_live_run_that_is_ignored_has_statuses_read_again(self, claims: ClaimStore) -> None:
        with claims.create_claim(ONE, CLOUD, [A]), claims.create_claim(TWO, CLOUD, [A], ignore_running=True) as claim:
            assert claim.wait_before_reading(time.time() + 9.0, recheck_after=2.0) == 0.0

    def test_a_second_release_does_nothing(self, claims: ClaimStore) -> None:
        claim: Claim = claims.create_claim(ONE, CLOUD, [A])
        claim.release(has_ended=True)
        claim.release(has_ended=False)
        with claims.create_claim(TWO, CLOUD, [A]) as later:
            wait = later.wait_before_reading(time.time() + 1, recheck_after=60.0)
            assert wait is None, "the run still counts as ended"

    def test_a_batch_counts_claims_of_others_and_its_own(self, claims: ClaimStore) -> None:
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
