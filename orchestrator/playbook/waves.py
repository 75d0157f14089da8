"""Waves: split a step's targets into portions; the first wave is the canary. Pure."""

from collections.abc import Iterator, Sequence
from math import ceil

from orchestrator.playbook.value_types import Share

_ALL = 100


def check_wave_sizes(sizes: list[Share]) -> list[Share]:
    """Check the cumulative sizes of waves: the number of targets reached by the end of every wave.

    A number and a percentage can't be compared before the targets are known; `compute_wave_ends` compares the sizes
    then.

    Raises:
        ValueError: when a size is 0, is not above an earlier size of its kind, or follows 100 %.
    """
    highest: dict[bool, Share] = {}
    for size in sizes:
        if not size.amount:
            raise ValueError(f"a wave of {size} has no target; the smallest size is 1")
        before = highest.get(size.percent)
        if True in highest and highest[True].amount == _ALL:
            raise ValueError(f"no target is left for {size} after 100%")
        if before is not None and size.amount <= before.amount:
            raise ValueError(f"sizes are cumulative, so {size} must be above {before}")
        highest[size.percent] = size
    return sizes


def compute_wave_ends(sizes: Sequence[Share], targets: int) -> list[int]:
    """Compute the number of targets reached by the end of every wave.

    A percentage is rounded up. Every wave has at least one target, and the last wave ends with the last target. Empty
    waves vanish. Without sizes, all targets form one wave.

    Args:
        sizes: cumulative, such as 1, 10 %, 100 %.
        targets: the number of targets of the step.
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
    """Yield the wave of every target in order, counted from 1."""
    before = 0
    for number, end in enumerate(compute_wave_ends(sizes, targets), start=1):
        for _ in range(end - before):
            yield number
        before = end
