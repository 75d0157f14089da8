"""Files written whole or not at all, readable by their owner only."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from orchestrator.state_files import sync_folder


def write_whole(path: Path, data: bytes) -> None:
    """Write a file over an older file.

    Raises:
        OSError: when the file can't be written; an older file stays unchanged.
    """
    fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}-", dir=path.parent)  # 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
