"""Numbers and lists of names as text."""

from collections.abc import Iterable

_MOST_NAMES = 20


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: `1 target`, `2 targets`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def join_names(some: Iterable[str]) -> str:
    """Join names: `web-1, web-2`; after the first 20, `and 5 more`."""
    every = list(some)
    more = [f"and {len(every) - _MOST_NAMES} more"] if len(every) > _MOST_NAMES else []
    return ", ".join([*every[:_MOST_NAMES], *more])
