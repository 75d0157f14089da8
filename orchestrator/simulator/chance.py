"""Seeded chance: the same seed and purpose always give the same sequence."""

import random
from collections.abc import Sequence


def seeded(seed: int, purpose: str) -> random.Random:
    """A generator of its own for each purpose, so that more draws for one never shift another."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - reproducible on purpose, nothing secret


def hexadecimal(rng: random.Random, digits: int) -> str:
    """A random lower-case hexadecimal text of that many digits."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def within(rng: random.Random, bounds: Sequence[float]) -> float:
    """A number drawn evenly between the two bounds."""
    low, high = bounds
    return low if low == high else rng.uniform(low, high)
