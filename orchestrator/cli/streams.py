"""stdout and stderr that never fail.

Neither may end a run. A reader that went away (`| head -1`), a terminal that is gone, a full disk behind `> file`: what
can't be written is dropped, and the command goes on; the audit log has it all.
"""

import errno
import io
import os
import sys
from typing import TextIO

_NOBODY_READS = frozenset({errno.EPIPE, errno.EIO})


class SafeStream(io.FileIO):
    """A file descriptor to which writing never fails.

    Attributes:
        lost: why something could not be written; None when all was, or when nobody was there to read it.
        unread: whether nobody is there to read it any more.
    """

    lost: OSError | None = None
    unread: bool = False

    def write(self, data: object, /) -> int:
        """Write, or drop what can't be written."""
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
    """Put streams that never fail in the place of stdout and stderr; returns the one of stdout."""
    # A standard stream that was closed leaves its number to the next file that is opened: the audit log, say.
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - stdin, stdout, stderr
        pass
    os.close(spare)
    out = SafeStream(1, "w", closefd=False)
    sys.stdout = _text(out, sys.stdout)
    sys.stderr = text_on(2, sys.stderr)
    return out


def text_on(fd: int, like: TextIO | None) -> TextIO:
    """A stream that never fails.

    Args:
        fd: an open file, which stays open.
        like: a stream whose encoding it has; None for UTF-8.
    """
    return _text(SafeStream(fd, "w", closefd=False), like)


def _text(raw: SafeStream, stream: TextIO | None) -> TextIO:
    """Text on top; characters that the encoding lacks are escaped."""
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
