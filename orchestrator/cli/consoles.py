"""The output streams of the terminal: no failures, and the choice of colours.

Neither stream may end a run. After a closed reader (`| head -1`), a lost terminal or a full disk behind `> file`, the
unwritable output is dropped, and the command continues; the audit log has all records.

stdout is for the result, stderr for messages on the way. Colours follow `--color`, else `NO_COLOR`, else `FORCE_COLOR`,
else `TERM` and the target of each stream.
"""

import errno
import io
import os
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_When = Literal["auto", "always", "never"]
WHEN: tuple[_When, ...] = ("auto", "always", "never")

_chosen: _When = "auto"
_DUMB = frozenset({"dumb", "unknown"})
"""Values of TERM without colours and without lines to replace."""


def choose(args: Sequence[str]) -> None:
    """Apply `--color` before the command line is parsed, because parse errors have colours too."""
    global _chosen  # noqa: PLW0603 - a choice for the whole process, like the environment
    options = args[: args.index("--")] if "--" in args else args
    words = [word for arg in options for word in arg.split("=", 1)]
    given = [value for option, value in pairwise(words) if option == "--color"]
    _chosen = next((when for when in WHEN if given[-1:] == [when]), "auto")


def colour() -> bool | None:
    """Return True or False for all streams, or None for a choice per stream."""
    if _chosen != "auto":
        return _chosen == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in {"", "0"}:  # some programs set 0 for "not forced"
        return True
    return False if os.environ.get("TERM", "") in _DUMB else None


def is_coloured(stream: TextIO) -> bool:
    """Return True if text for this stream has colours."""
    found = colour()
    return stream.isatty() if found is None else found


def redraws(stream: TextIO) -> bool:
    """Return True if a line on this stream can be replaced."""
    return stream.isatty() and os.environ.get("TERM", "") not in _DUMB


PIPE_WIDTH = 200


def text_width(piped: int) -> int:
    """Return the columns of the terminal on stdout; outside a terminal, the given columns."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else piped


def stdout_console() -> "Console":
    """Return the console for plans and summaries; wide enough for unbroken lines outside a terminal."""
    return console_on(sys.stdout)


def stderr_console() -> "Console":
    """Return the console for the live view."""
    return console_on(sys.stderr)


def console_on(stream: TextIO) -> "Console":
    """Return the console for a stream, such as the terminal of a question."""
    from rich.console import Console  # noqa: PLC0415 - `--help` needs the colours alone

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


_NOBODY_READS = frozenset({errno.EPIPE, errno.EIO})


class SafeStream(io.FileIO):
    """A file descriptor without write errors.

    Attributes:
        lost: the reason for lost output; None for complete output, or for a closed reader.
        unread: whether the reader is gone.
    """

    lost: OSError | None = None
    unread: bool = False

    def write(self, data: object, /) -> int:
        """Write data, and drop the data after a failure."""
        view = memoryview(data)  # type: ignore[arg-type] # whatever a buffered writer hands on
        try:
            written = super().write(view)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, "the reader is too slow")
        except OSError as error:
            if error.errno in _NOBODY_READS:
                self.unread = True
            else:
                self.lost = self.lost or error
            return view.nbytes
        return written


def open_streams() -> SafeStream:
    """Replace stdout and stderr by streams without failures; returns the stream of stdout."""
    # A closed standard stream leaves its number to the next opened file, for example the audit log.
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stdin, stdout, stderr
        pass
    os.close(spare)
    out = SafeStream(1, "w", closefd=False)
    sys.stdout = text_on(out, sys.stdout)
    sys.stderr = text_on(SafeStream(2, "w", closefd=False), sys.stderr)
    return out


def text_on(raw: SafeStream, like: TextIO | None) -> TextIO:
    """Open a text stream on a raw stream; characters outside the encoding are escaped.

    Args:
        raw: the raw stream.
        like: a stream with the wanted encoding; None for UTF-8.
    """
    encoding = like.encoding if like is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
