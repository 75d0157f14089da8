"""Read a file named by a person: never wait for a pipe, never read without a limit."""

import os
import stat
from pathlib import Path


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read a whole regular file.

    Raises:
        OSError: when the file is missing or unreadable.
        ValueError: when the file is no regular file, has more than `max_bytes` bytes, or has a NUL in its path.
    """
    # Without O_NONBLOCK, opening a pipe waits for the other end.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes:,} bytes")
    return data
