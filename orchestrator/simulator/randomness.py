"""Seeded random numbers: the same seed and purpose always give the same sequence."""

import random
from collections.abc import Sequence


def seeded_random(seed: int, purpose: str) -> random.Random:
    """Make a random generator for a purpose; draws for another purpose never shift this generator."""
    return random.Random(f"{seed}/{purpose}")  # noqa: S311 - reproducible on purpose, nothing secret


def random_hex(rng: random.Random, digits: int) -> str:
    """Draw a lower-case hexadecimal text of `digits` digits."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def draw_between(rng: random.Random, bounds: Sequence[float]) -> float:
    """Draw a number evenly between two bounds."""
    low, high = bounds
    return low if low == high else rng.uniform(low, high)
