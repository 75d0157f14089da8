"""The folder of runs: run ids, paths of the logs, and locks of live runs."""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.errors import SettingsError, UsageError
from orchestrator.state_files import make_folder

_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4,}")


def new_run_id(moment: datetime) -> str:
    """Make an id for a new run; ids sort by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def is_run_id(name: str) -> bool:
    """Return True if a name has the form of `new_run_id`."""
    return _RUN_ID.fullmatch(name) is not None


def seal_file(log: Path) -> Path:
    """Path of a log's seal file, beside the log."""
    return log.with_suffix(".seal.json")


class RunStore:
    """The runs of a state folder.

    Attributes:
        folder: folder of the logs.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir.expanduser() / "runs"

    def prepare(self) -> None:
        """Create the folder if the folder is missing.

        Raises:
            SettingsError: when the folder can't be used.
        """
        try:
            make_folder(self.folder)
            list(self.folder.iterdir())
        except OSError as error:
            raise SettingsError(
                f"the state folder can't be used: {error.strerror or error}",
                file=self.folder,
                hint="set ORCHESTRATOR_STATE_DIR to a folder of yours",
            ) from error

    def path(self, run_id: str) -> Path:
        """Path of a run's log; the file need not exist."""
        return self.folder / f"{run_id}.jsonl"

    def find(self, name: str) -> Path:
        """Find a log by its path or by its run id.

        Raises:
            UsageError: when there is no such log.
        """
        path = Path(name)
        if is_file(path):
            return path
        if is_run_id(name) and is_file(self.path(name)):
            return self.path(name)
        pruned_at = self.pruned_at(name)
        if pruned_at is not None:
            raise UsageError(f"run {name} was pruned at {pruned_at}", file=self.pruned, hint="that file has its digest")
        newest = [path.stem for path in self][:3]
        hint = f"the newest are: {', '.join(newest)}" if newest else f"there are no runs in {self.folder}"
        raise UsageError(f"there is no run {name!r}", hint=hint)

    @property
    def pruned(self) -> Path:
        """The file of logs removed by `audit prune`, with one line per log."""
        return self.folder.with_name("pruned.jsonl")

    def pruned_at(self, run_id: str) -> str | None:
        """Time of the removal of a run's log by `audit prune`; None without a recorded removal."""
        found = None
        with suppress(OSError), self.pruned.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if f'"{run_id}"' in line:
                    with suppress(ValueError, RecursionError):
                        record = json.loads(line)
                        found = record["ts"] if isinstance(record, dict) and record.get("run_id") == run_id else found
        return found

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the logs, newest first; only regular files count, because a read from a pipe could hang.

        Raises:
            SettingsError: when the folder cannot be read.
        """
        try:
            every = [
                path for path in self.folder.iterdir() if path.suffix == ".jsonl" and not path.name.startswith(".")
            ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise SettingsError(f"the folder of runs can't be read: {error.strerror}", file=self.folder) from error
        yield from sorted(filter(is_file, every), reverse=True)


def is_file(path: Path) -> bool:
    """Return True if a path is a file, or if this user may not look at the path."""
    try:
        return path.is_file()
    except OSError:  # such as a path without permission: the later read reports the error
        return True


def is_held(path: Path) -> bool:
    """Return True if a process is carrying out the run of this log right now."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
