"""Foreign text made safe for output: no terminal escapes, no markup, no line breaks, no reversed reading order."""

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe_text(text: object, width: int = 200) -> str:
    """Escape control, format and bidirectional characters, and cut the text to a width.

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
