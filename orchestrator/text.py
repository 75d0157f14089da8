"""Pieces of text for people: numbers with nouns, lists of names, and foreign text made safe for output."""

import unicodedata
from collections.abc import Iterable

_MOST_NAMES = 20
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_text(text: object, width: int = 200) -> str:
    """Escape control, format and bidirectional characters of foreign text, and cut the text to a width.

    The result has no terminal escapes, no line breaks, and no reversed reading order.

    Args:
        text: any value; None is shown as a dash.
        width: the most characters.
    """
    if text is None:
        return "-"
    raw = str(text)
    cut = raw[: width + 1]
    safe = cut if cut.isascii() and cut.isprintable() else "".join(map(_safe, cut))
    return safe if len(safe) <= width else f"{safe[: max(width - 1, 0)]}…"


def _safe(char: str) -> str:
    if unicodedata.category(char) in _HIDDEN:
        return char.encode("unicode_escape").decode("ascii")
    return char


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: `1 target`, `2 targets`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def join_names(some: Iterable[str]) -> str:
    """Join names: `web-1, web-2`; after the first 20, `and 5 more`."""
    every = list(some)
    more = [f"and {len(every) - _MOST_NAMES} more"] if len(every) > _MOST_NAMES else []
    return ", ".join([*every[:_MOST_NAMES], *more])
