"""Seeded chance: the same seed and purpose always give the same sequence."""

import random
from collections.abc import Sequence


def seeded_random(seed: int, purpose: str) -> random.Random:
    """A generator of its own for each purpose, so that more draws for one never shift another."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - reproducible on purpose, nothing secret


def random_hex(rng: random.Random, digits: int) -> str:
    """A random lower-case hexadecimal text of that many digits."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def draw_between(rng: random.Random, bounds: Sequence[float]) -> float:
    """A number drawn evenly between the two bounds."""
    low, high = bounds
    return low if low == high else rng.uniform(low, high)
