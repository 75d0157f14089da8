"""Whether text is coloured: `--color`, else `NO_COLOR`, `TERM` and what each stream leads to."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TextIO

_When = Literal["auto", "always", "never"]
WHEN: tuple[_When, ...] = ("auto", "always", "never")

_chosen: _When = "auto"


def choose(args: Sequence[str]) -> None:
    """Take `--color` from a command line before it is read, since an error in it is coloured or not as well."""
    global _chosen  # noqa: PLW0603 - a choice for the whole process, as the environment is
    options = args[: args.index("--")] if "--" in args else args
    words = [word for arg in options for word in arg.split("=", 1)]
    given = [value for option, value in pairwise(words) if option == "--color"]
    _chosen = next((when for when in WHEN if given[-1:] == [when]), "auto")


def colour() -> bool | None:
    """Whether to colour: yes, no, or None where each stream decides."""
    if _chosen != "auto":
        return _chosen == "always"
    return False if os.environ.get("NO_COLOR") or _is_dumb() else None


def is_coloured(stream: TextIO) -> bool:
    """Whether text for this stream is coloured."""
    found = colour()
    return stream.isatty() if found is None else found


def redraws(stream: TextIO) -> bool:
    """Whether a line that was shown on this stream can be drawn anew."""
    return stream.isatty() and not _is_dumb()


def _is_dumb() -> bool:
    return os.environ.get("TERM", "") in {"dumb", "unknown"}
