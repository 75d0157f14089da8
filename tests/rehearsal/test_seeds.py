"""Many seeds: the table of worst, median and best, and a result for every seed from several processes."""

from orchestrator.rehearsal.seeds import compare_seeds, rehearse_seeds
from tests.rehearsal.orders import make_order, run_order


def test_many_seeds_give_the_results_of_single_rehearsals() -> None:
    order = make_order(cvms=4, faults={"cvms": {"slow": 0.5}})
    found = list(rehearse_seeds(order, range(3)))
    for seed, result in enumerate(found):
        alone, _ = run_order(order, seed)
        assert result == {key: alone[key] for key in result}


def test_the_worst_seed_has_the_most_cvms_not_as_wanted_and_then_the_longest_time() -> None:
    def result(seed: int, counts: dict[str, int], code: int, seconds: float) -> dict[str, object]:
        return {"seed": seed, "exit_code": code, "counts": counts, "seconds": seconds, "ended_by": None}

    seeds = [
        result(0, {"settled": 5}, 0, 90.0),
        result(1, {"settled": 4, "unsettled": 1}, 7, 9.0),
        result(2, {"settled": 5}, 0, 80.0),
        result(3, {"settled": 3, "not_sent": 2}, 8, 1.0),
    ]
    document = compare_seeds(seeds)
    assert document["rehearsal"] is True
    assert [document[name]["seed"] for name in ("best", "median", "worst")] == [2, 0, 3]


def test_a_refused_plan_is_worse_than_any_outcome() -> None:
    order = make_order(cvms=4, playbook={"guards": {"max_targets": 3}})
    document = compare_seeds(list(rehearse_seeds(order, range(2))))
    assert document["worst"]["ended_by"]["name"] == "max_targets"
