"""The output streams of the terminal: stdout for the result, stderr for messages on the way."""

import sys
from typing import TextIO

from rich.console import Console

from orchestrator.colour import colour

PIPE_WIDTH = 200


def stdout_console() -> Console:
    """Return the console for plans and summaries; wide enough for unbroken lines outside a terminal."""
    return _build_console(sys.stdout)


def stderr_console() -> Console:
    """Return the console for the live view."""
    return _build_console(sys.stderr)


def console_on(stream: TextIO) -> Console:
    """Return the console for questions on the terminal behind a stream."""
    return _build_console(stream)


def _build_console(stream: TextIO) -> Console:
    # A console without a file follows stdout and stderr; a live view replaces both for a while.
    file = None if stream in (sys.stdout, sys.stderr) else stream
    found = colour()
    return Console(
        file=file,
        color_system="auto" if found is None else "standard" if found else None,
        no_color=found is False,
        force_terminal=stream.isatty(),  # FORCE_COLOR is about colour; rich would also take the stream for a terminal
        stderr=stream is sys.stderr,
        markup=False,
        highlight=False,
        emoji=False,
        width=None if stream.isatty() else PIPE_WIDTH,
    )
