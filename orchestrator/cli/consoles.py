"""The terminal's two sides: stdout for what was asked for, stderr for everything said on the way."""

import sys

from rich.console import Console

_PIPE_WIDTH = 160


def stdout() -> Console:
    """For plans and summaries; wide enough for no line to break where it is not a terminal."""
    return _console(stderr=False)


def stderr() -> Console:
    """For the live view."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if terminal else _PIPE_WIDTH)
