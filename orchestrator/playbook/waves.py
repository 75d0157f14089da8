"""Waves: a step's targets in portions, the first of which is the canary. Pure."""

from collections.abc import Iterator, Sequence
from math import ceil

from orchestrator.playbook.value_types import Share

_ALL = 100


def check_wave_sizes(sizes: list[Share]) -> list[Share]:
    """Sizes that make sense one after the other: how many targets have had their turn when the next wave begins.

    A number and a percentage can't be compared before the targets are known; `wave_ends` does that.

    Raises:
        ValueError: when a size is 0, is not above one of its kind before it, or comes after all of the targets.
    """
    highest: dict[bool, Share] = {}
    for size in sizes:
        if not size.amount:
            raise ValueError(f"a wave of {size} acts on nothing; the first may be 1")
        before = highest.get(size.percent)
        if True in highest and highest[True].amount == _ALL:
            raise ValueError(f"nothing is left for {size} after 100%")
        if before is not None and size.amount <= before.amount:
            raise ValueError(f"each size counts all targets up to then, so {size} must be above {before}")
        highest[size.percent] = size
    return sizes


def compute_wave_ends(sizes: Sequence[Share], targets: int) -> list[int]:
    """How many of so many targets have had their turn at the end of each wave.

    A percentage is rounded up, every wave has one target at least, and the last one ends with the last target; waves
    for which nothing is left vanish. Without sizes it is one wave.

    Args:
        sizes: cumulative, such as 1, 10 %, 100 %.
        targets: how many the step has.
    """
    ends: list[int] = []
    reached = 0
    for size in sizes:
        if reached >= targets:
            break
        wanted = ceil(targets * size.amount / _ALL) if size.percent else int(size.amount)
        reached = min(targets, max(wanted, reached + 1))
        ends.append(reached)
    return ends if reached >= targets else [*ends, targets]


def number_waves(sizes: Sequence[Share], targets: int) -> Iterator[int]:
    """The wave of each of so many targets in order, counted from 1."""
    before = 0
    for number, end in enumerate(compute_wave_ends(sizes, targets), start=1):
        for _ in range(end - before):
            yield number
        before = end
