"""The order of a step's targets."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cvm import Cvm
from orchestrator.playbook.order import natural_key, rank_target
from orchestrator.playbook.value_types import Order
from tests.playbook.fleet import INVENTORIES, cvm


def names(by: Order, fleet: list[tuple[Cvm, str | None]]) -> list[str]:
    ranked = sorted(fleet, key=lambda pair: rank_target(by, pair[0].ref, Decimal(pair[1]) if pair[1] else None))
    return [each.ref.name for each, _ in ranked]


def test_names_are_in_natural_order() -> None:
    fleet = [(cvm(n, name), None) for n, name in enumerate(["web-10", "Web-2", "web-2", "api", "web-007"])]
    assert names("name", list(fleet)) == ["api", "Web-2", "web-2", "web-007", "web-10"]


def test_the_most_expensive_are_first_and_unknown_costs_last() -> None:
    fleet = [
        (cvm(1, "unknown"), None),
        (cvm(2, "cheap"), "0.05"),
        (cvm(3, "b-dear"), "8.1"),
        (cvm(4, "a-dear"), "8.10"),
        (cvm(5, "free"), "0"),
    ]
    assert names("cost", list(fleet)) == ["a-dear", "b-dear", "cheap", "free", "unknown"]


def test_teepods_come_one_after_another_and_the_unknown_one_last() -> None:
    fleet = [(cvm(n, f"web-{n}", pod=pod), None) for n, pod in enumerate([None, 10, 2, 10, 2])]
    assert names("teepod", list(fleet)) == ["web-2", "web-4", "web-1", "web-3", "web-0"]


def test_numbers_of_any_length_can_be_sorted() -> None:
    assert natural_key("9" * 10_000) > natural_key("8" * 10_000)


@given(INVENTORIES, st.sampled_from(["cost", "teepod", "name"]), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_inventory(inventory: list[Cvm], by: Order, random: Any) -> None:  # noqa: ANN401 - hypothesis' own
    costs = {each.ref.key: Decimal(random.randint(0, 3)) if random.random() < 0.8 else None for each in inventory}
    shuffled = list(inventory)
    random.shuffle(shuffled)
    found, again = (
        [each.ref.key for each in sorted(fleet, key=lambda each: rank_target(by, each.ref, costs[each.ref.key]))]
        for fleet in (inventory, shuffled)
    )
    assert found == again
