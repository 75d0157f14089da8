"""Read a file that people named, whatever they named: never wait for a pipe, never read without end."""

import os
import stat
from pathlib import Path


def read_regular(file: Path, max_bytes: int) -> bytes:
    """Read a regular file whole.

    Raises:
        OSError: when the file is missing or unreadable.
        ValueError: when it is no regular file, has more than `max_bytes` bytes, or has a NUL in its path.
    """
    # Opening a pipe waits for its other end, unless told not to.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return data
