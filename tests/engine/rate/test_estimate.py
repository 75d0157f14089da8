"""Estimates of the API's rate limit from accepted and refused requests."""

import pytest

from orchestrator.engine.rate.estimate import BucketEstimator


def refuse_after(estimator: BucketEstimator, *, start: float, rate: float, limit: float, used: float) -> float:
    """Send requests at a rate into a bucket of ten until a refusal; return the time of the refusal."""
    now = last = start
    while True:
        used = max(0.0, used - limit * (now - last))
        last = now
        if used + 1 > 10:
            estimator.count_refused(now)
            return now
        used += 1
        estimator.count_accepted(now)
        now += 1 / rate


@pytest.mark.parametrize("limit", [5.0, 20.0, 60.0])
def test_two_stretches_of_different_rates_give_the_limit_and_the_size(limit: float) -> None:
    estimator = BucketEstimator(0.0)
    end = refuse_after(estimator, start=0.0, rate=limit * 1.2, limit=limit, used=0.0)
    refuse_after(estimator, start=end + 10 / limit, rate=limit * 2, limit=limit, used=0.0)
    found = estimator.estimate_limits(limit * 2)
    assert found.least <= limit <= found.most
    assert found.least >= limit * 0.75
    assert not found.is_contradicted
    assert estimator.size == found.size


def test_a_refusal_ends_the_count_of_accepted_requests() -> None:
    estimator = BucketEstimator(0.0)
    for second in range(3):
        estimator.count_accepted(float(second))
    assert estimator.since_refusal == 3
    estimator.count_refused(3.0)
    assert estimator.since_refusal == 0


@pytest.mark.parametrize(("stretches", "mean"), [(5, 3.5), (6, 4.5)])
def test_the_mean_rate_counts_the_last_four_stretches_alone(stretches: int, mean: float) -> None:
    estimator = BucketEstimator(100.0)
    for stretch in range(stretches):
        for request in range(10 * (stretch + 1)):
            estimator.count_accepted(100 + stretch * 10 + request / 10)
        estimator.count_refused(100.0 + (stretch + 1) * 10)
    assert estimator.mean_rate(100.0 + stretches * 10) == pytest.approx(
        mean
    )  # of 40 s: 20 to 50 requests each, or 30 to 60


def burst(estimator: BucketEstimator, at: float, requests: int) -> None:
    """Send requests at once, and then one more request: refused."""
    for _ in range(requests):
        estimator.count_accepted(at)
    estimator.count_refused(at)


def test_a_single_refusal_gives_the_size_and_leaves_every_limit_open() -> None:
    estimator = BucketEstimator(0.0)
    assert estimator.size == 4
    burst(estimator, 0.0, 6)
    found = estimator.estimate_limits(10.0)
    assert (found.size, found.misfit, estimator.size) == (6, 0, 6)
    assert found.most == pytest.approx(10.1)
    assert 0.25 <= found.least <= 0.25 * 1.025


def test_a_second_refusal_shows_the_requests_given_back_since_the_first() -> None:
    estimator = BucketEstimator(0.0)
    burst(estimator, 0.0, 4)
    burst(estimator, 1.0, 4)
    found = estimator.estimate_limits(10.0)
    assert (found.size, found.misfit) == (4, 0)
    assert found.most == pytest.approx(10.1)
    assert 2.92 <= found.least <= 2.92 * 1.025, "4 a second, less the tolerance of 1.08 requests"


def test_requests_given_back_before_the_refusal_do_not_count_as_used() -> None:
    estimator = BucketEstimator(0.0)
    for _ in range(6):
        estimator.count_accepted(0.0)
    estimator.count_refused(1.0)
    found = estimator.estimate_limits(2.0)
    assert 5 <= found.size <= 5.05, "6 used at once need a bucket of 5 and a limit of 1 a second"
    assert found.misfit == pytest.approx(0, abs=0.03)
    assert 1.95 < found.most <= 2.02


def test_refusals_that_no_limit_explains_leave_the_last_stretch_alone() -> None:
    estimator = BucketEstimator(0.0)
    burst(estimator, 0.0, 10)
    burst(estimator, 10.0, 2)
    found = estimator.estimate_limits(40.0)
    assert (found.misfit, found.is_contradicted) == (8, True)
    assert (found.size, estimator.size) == (2, 4), "the size of the whole stays as it was assumed"
    assert estimator.mean_rate(10.0) == pytest.approx(0.2), "2 requests in the 10 s since the first refusal"
    again = estimator.estimate_limits(40.0)
    assert (again.misfit, again.is_contradicted) == (2, False), "with the assumed size of 4 at the beginning"


def test_three_stretches_are_reduced_to_the_last_by_a_contradiction() -> None:
    estimator = BucketEstimator(0.0)
    for at, requests in ((0.0, 10), (10.0, 10), (20.0, 2)):
        burst(estimator, at, requests)
    assert estimator.estimate_limits(40.0).is_contradicted
    assert estimator.mean_rate(20.0) == pytest.approx(0.2)


def test_a_single_stretch_is_never_forgotten() -> None:
    estimator = BucketEstimator(0.0)
    estimator.count_accepted(0.0)
    for _ in range(20):
        estimator.count_accepted(0.5)
    estimator.count_refused(30.0)
    estimator.estimate_limits(40.0)
    assert estimator.mean_rate(30.0) == pytest.approx(0.7)


def test_the_mean_rate_of_the_first_moment_is_bounded() -> None:
    estimator = BucketEstimator(100.0)
    estimator.count_accepted(100.0)
    assert estimator.mean_rate(100.1) == pytest.approx(1.0)


def test_a_long_stretch_is_stored_in_groups_without_loss_of_requests() -> None:
    estimator = BucketEstimator(0.0)
    for request in range(50_000):
        estimator.count_accepted(request / 100)
    assert estimator.mean_rate(500.0) == pytest.approx(100.0)
    assert 50 <= len(estimator._stretches[-1].groups) <= 100, "the cost of an estimate is bounded"


def test_a_stretch_of_thousands_of_requests_gives_the_limit_as_well() -> None:
    estimator = BucketEstimator(0.0)
    end = refuse_after(estimator, start=0.0, rate=60.3, limit=60.0, used=0.0)
    assert estimator.mean_rate(end) * end > 1500
    refuse_after(estimator, start=end + 10 / 60, rate=120.0, limit=60.0, used=0.0)
    found = estimator.estimate_limits(120.0)
    assert 60 * 0.75 <= found.least <= 60 <= found.most


def test_an_assumed_size_gives_the_limit_from_a_single_refusal() -> None:
    estimator = BucketEstimator(0.0)
    end = refuse_after(estimator, start=0.0, rate=40.0, limit=20.0, used=0.0)
    assert end > 0
    assert estimator.assume_size(40.0, 10, least=1.0) == pytest.approx(20.0, rel=0.1)
    assert estimator.assume_size(40.0, 10, least=30.0) == 30.0
    assert estimator.size == 10


def test_a_long_stretch_of_a_late_run_is_stored_in_groups_as_well() -> None:
    estimator = BucketEstimator(1000.0)
    for request in range(2000):
        estimator.count_accepted(1000 + request / 50)
    assert 50 <= len(estimator._stretches[-1].groups) <= 100


def test_a_bucket_filled_up_between_two_requests_counts_the_second_request_alone() -> None:
    estimator = BucketEstimator(0.0)
    estimator.count_accepted(0.0)
    estimator.count_accepted(0.015)
    estimator.count_refused(0.015)
    assert estimator.estimate_limits(200.0).size == 1


def test_a_bucket_filled_up_before_a_refusal_has_no_used_requests() -> None:
    estimator = BucketEstimator(0.0)
    estimator.count_accepted(0.0)
    estimator.count_refused(10.0)
    assert estimator.estimate_limits(10.0).size == 0
