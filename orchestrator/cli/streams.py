"""Standard streams without failures: stdout and stderr never raise.

Neither stream may end a run. After a closed reader (`| head -1`), a lost terminal or a full disk behind `> file`, the
unwritable output is dropped, and the command continues; the audit log has all records.
"""

import errno
import io
import os
import sys
from typing import TextIO

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
    sys.stdout = _open_text(out, sys.stdout)
    sys.stderr = text_on(2, sys.stderr)
    return out


def text_on(fd: int, like: TextIO | None) -> TextIO:
    """Open a text stream without failures.

    Args:
        fd: an open file; the file stays open.
        like: a stream with the wanted encoding; None for UTF-8.
    """
    return _open_text(SafeStream(fd, "w", closefd=False), like)


def _open_text(raw: SafeStream, stream: TextIO | None) -> TextIO:
    """Wrap a raw stream as text; characters outside the encoding are escaped."""
    encoding = stream.encoding if stream is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=raw.isatty()
    )
