"""The folder of runs: their names, where they are, and which of them some process is carrying out."""

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
    """A name for a run that sorts by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def is_run_id(name: str) -> bool:
    """Whether a name is one that `new_run_id` gives."""
    return _RUN_ID.fullmatch(name) is not None


def seal_file(log: Path) -> Path:
    """Where the last seal of a log is kept beside it."""
    return log.with_suffix(".seal.json")


class RunStore:
    """The runs below one state folder.

    Attributes:
        folder: where their logs are.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir.expanduser() / "runs"

    def prepare(self) -> None:
        """Make the folder where it is missing.

        Raises:
            SettingsError: when it can't be used.
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
        """Where the log of a run is, or would be."""
        return self.folder / f"{run_id}.jsonl"

    def find(self, name: str) -> Path:
        """The log that `name` means: a path, or a run's id.

        Raises:
            UsageError: when there is none.
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
        """The file that says which logs were removed by `audit prune`, a line each."""
        return self.folder.with_name("pruned.jsonl")

    def pruned_at(self, run_id: str) -> str | None:
        """When the log of a run was removed by `audit prune`; None when that is not on record."""
        found = None
        with suppress(OSError), self.pruned.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if f'"{run_id}"' in line:
                    with suppress(ValueError, RecursionError):
                        record = json.loads(line)
                        found = record["ts"] if isinstance(record, dict) and record.get("run_id") == run_id else found
        return found

    def __iter__(self) -> Iterator[Path]:
        """The logs, newest first. What is no file is none: reading a pipe, say, would never end.

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
    """Whether a path is a file, as far as this user may tell."""
    try:
        return path.is_file()
    except OSError:  # such as one that nobody may look at: whoever reads it says so
        return True


def is_held(path: Path) -> bool:
    """Whether some process is carrying the run of this log out right now."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
