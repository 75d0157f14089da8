"""Waves of a step's targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playbook.value_types import Share
from orchestrator.playbook.waves import check_wave_sizes, compute_wave_ends, number_waves

SIZES = st.lists(
    st.one_of(st.integers(1, 40).map(str), st.integers(1, 1000).map(lambda tenths: f"{tenths / 10:g}%")), max_size=6
).map(lambda texts: [Share.parse(text) for text in texts])


def ends(targets: int, *sizes: str) -> list[int]:
    return compute_wave_ends([Share.parse(size) for size in sizes], targets)


def test_sizes_are_cumulative() -> None:
    assert ends(200, "1", "10%", "100%") == [1, 20, 200]
    assert ends(200, "5", "50", "50%") == [5, 50, 100, 200], "the last wave is completed to all of them"


def test_percentages_are_rounded_up() -> None:
    assert ends(101, "10%") == [11, 101]
    assert ends(3, "0.1%") == [1, 3]


def test_every_wave_has_a_target_and_empty_waves_vanish() -> None:
    assert ends(5, "1", "10%", "100%") == [1, 2, 5]
    assert ends(100, "50", "10%", "100%") == [50, 51, 100]
    assert [ends(number, "1", "10%", "100%") for number in range(4)] == [[], [1], [1, 2], [1, 2, 3]]


def test_without_sizes_there_is_one_wave() -> None:
    assert ends(7) == [7]
    assert ends(0) == []


@given(SIZES, st.integers(0, 300))
def test_each_target_is_in_one_wave_and_no_wave_is_empty(sizes: list[Share], targets: int) -> None:
    found = compute_wave_ends(sizes, targets)
    assert found == sorted(set(found))
    assert (found[-1:] or [0]) == [targets]
    numbers = list(number_waves(sizes, targets))
    assert len(numbers) == targets
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, len(found) + 1))


@given(SIZES, st.integers(1, 300))
def test_no_wave_exceeds_its_size_except_for_one_target(sizes: list[Share], targets: int) -> None:
    found = compute_wave_ends(sizes, targets)
    before = 0
    for size, end in zip(sizes, found, strict=False):
        within = (end - 1) * 100 < targets * size.amount if size.percent else end <= size.amount
        assert within or end == before + 1
        before = end


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (["0"], "has no target"),
        (["0%", "10%"], "has no target"),
        (["5", "5"], "5 must be above 5"),
        (["5", "10%", "3"], "3 must be above 5"),
        (["20%", "10%"], "10% must be above 20%"),
        (["100%", "500"], "no target is left for 500"),
    ],
)
def test_sizes_that_do_not_grow_are_refused(sizes: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_wave_sizes([Share.parse(size) for size in sizes])


def test_a_number_and_a_percentage_are_not_compared_before_the_targets_are_known() -> None:
    sizes = [Share.parse(size) for size in ("50", "10%", "60", "100%")]
    assert check_wave_sizes(sizes) is sizes
