"""Stores of runs: the protocol of a store, and the folder of log files as its first implementation."""

import difflib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.audit.approvals import ApprovalStore, FileApprovalStore
from orchestrator.audit.verify import Reading, Take, Verdict, check_lines, ignore_record
from orchestrator.errors import OrchestratorError, SettingsError, UsageError
from orchestrator.state_files import is_plan_file, make_folder

if TYPE_CHECKING:
    from orchestrator.audit.log import AuditLog, Observer

_MOST_COMPARED = 2000
"""The number of newest runs to compare with an unknown id."""

MIRRORS = "mirror"
"""Name of the folder with the mirrors of the logs of a team store, in the state folder."""

LAST = "last"
"""Name for the newest run, in place of a run id."""

_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4,}")


def new_run_id(moment: datetime) -> str:
    """Make an id for a new run; ids sort by time."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def new_run_ids(moment: datetime, count: int) -> list[str]:
    """Make ids for several new runs, all different."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[new_run_id(moment)] = None
    return list(found)


def is_run_id(name: str) -> bool:
    """Return True if a name has the form of `new_run_id`."""
    return _RUN_ID.fullmatch(name) is not None


def seal_file(log: Path) -> Path:
    """Path of a log's seal file, beside the log."""
    return log.with_suffix(".seal.json")


@dataclass(frozen=True, slots=True)
class LogVersion:
    """Version of a log.

    Attributes:
        stamp: text that differs between versions.
        changed_ns: time of the last change, in nanoseconds since the epoch.
    """

    stamp: str
    changed_ns: int


class StoredRun(Protocol):
    """A run in a store."""

    @property
    def run_id(self) -> str:
        """The run; for a log outside a store, the name of the file."""
        ...

    @property
    def location(self) -> str:
        """The place of the log, for people."""
        ...

    def read_lines(self) -> Iterator[bytes]:
        """Read the lines of the log one after another, with their newlines.

        Raises:
            OSError: when the log can't be read.
        """
        ...

    def open_log(self, take: Take) -> "tuple[AuditLog, Reading]":
        """Lock the log for this process, then read and check the log, to add records.

        Args:
            take: called with each record, as in `read_log`.

        Raises:
            RunHeldError: when another process is carrying the run out.
            SettingsError: when the log can't be continued.
        """
        ...

    def is_locked(self) -> bool:
        """Return True if a process is carrying the run out right now.

        Raises:
            OSError: when the log can't be read.
        """
        ...

    def is_continued(self) -> bool:
        """Return True if another process continues the run by itself after the end of its process."""
        ...

    def read_version(self) -> LogVersion:
        """Read the version of the log, which changes with every record.

        Raises:
            OSError: when the log can't be read.
        """
        ...

    def open_approvals(self) -> ApprovalStore:
        """Store of the answers to the questions of the run."""
        ...


class RunStore(Protocol):
    """Store of runs. Files in a folder are one store; code outside this module and the wiring knows the protocol."""

    @property
    def location(self) -> str:
        """The place of the store, for people."""
        ...

    def prepare(self) -> None:
        """Create the store if it is missing, and check for access.

        Raises:
            SettingsError: when the store can't be used.
        """
        ...

    def create_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new run; the first records are durable at the return.

        Raises:
            SettingsError: when the log can't be written; no request was sent then.
        """
        ...

    async def begin_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log as `create_log`, but let the other tasks go on while the store does not answer."""
        ...

    def get_run(self, run_id: str) -> StoredRun:
        """Return a run by its id; the run need not exist."""
        ...

    def find_run(self, name: str) -> StoredRun:
        """Find a run by its id, by a unique prefix of its id, or by `LAST` for the newest run; or a log by its path.

        Raises:
            UsageError: when there is no such run, or when several ids begin with the prefix.
        """
        ...

    def list_runs(self) -> Iterator[StoredRun]:
        """List the runs, newest first.

        Raises:
            SettingsError: when the store can't be read.
        """
        ...


def read_run(run: StoredRun, take: Take = ignore_record) -> Reading:
    """Read and check the log of a run.

    Raises:
        OSError: when the log can't be read.
    """
    return check_lines(run.read_lines(), take)


def read_sound_run(run: StoredRun, take: Take, hint: str | None = None) -> Reading:
    """Read the log of a run, and refuse an altered log.

    Args:
        run: the run.
        take: called with each record, as in `read_log`.
        hint: the remedy for an altered log.

    Raises:
        SettingsError: when the log can't be read, or was altered.
    """
    try:
        reading = read_run(run, take)
    except OSError as error:
        raise SettingsError(f"the audit log can't be read: {error.strerror or error}", file=run.location) from error
    require_sound(reading, run, hint)
    return reading


def require_sound(reading: Reading, run: StoredRun, hint: str | None = None) -> None:
    """Refuse an altered log.

    Raises:
        SettingsError: when the log was altered.
    """
    if reading.verdict is Verdict.ALTERED:
        raise SettingsError(
            f"the audit log was altered: {reading.reason}", file=run.location, line=reading.line, hint=hint
        )


class FileRun:
    """A log in a file, in the folder of a store or anywhere else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.stem
        self.location = str(path)

    def read_lines(self) -> Iterator[bytes]:
        """Read the lines, as `StoredRun.read_lines`."""
        with self.path.open("rb") as file:
            yield from file

    def open_log(self, take: Take) -> "tuple[AuditLog, Reading]":
        """Lock and read the log, as `StoredRun.open_log`."""
        from orchestrator.audit.log import AuditLog  # noqa: PLC0415 - takes long to import; readers do without

        return AuditLog.reopen(self.path, take)

    def is_locked(self) -> bool:
        """Return True if a process is carrying the run out, as `StoredRun.is_locked`."""
        return is_held(self.path)

    def is_continued(self) -> bool:
        """Return False: only a person continues the run, as `StoredRun.is_continued`."""
        return False

    def read_version(self) -> LogVersion:
        """Read the version from the state of the file: every write changes the state."""
        found = os.stat(self.path)  # noqa: PTH116 - twice as fast, and called for every log
        stamp = f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        return LogVersion(stamp, max(found.st_mtime_ns, found.st_ctime_ns))

    def open_approvals(self) -> ApprovalStore:
        """Store of the answers, in the folder beside the folder of logs."""
        return FileApprovalStore(self.path)


class FileRunStore:
    """The runs of a state folder, with a file for each log.

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

    def path_of(self, run_id: str) -> Path:
        """Path of a run's log; the file need not exist."""
        return self.folder / f"{run_id}.jsonl"

    def list_paths(self, report: Callable[[OrchestratorError], object]) -> Iterator[Path]:
        """Iterate over the logs of runs, newest first; a copy of a log reports its difference from the original.

        Args:
            report: called with the error about a copy; the other logs follow.
        """
        del report  # these files are the originals
        return iter(self)

    def find_log(self, name: str) -> Path:
        """Find a log by its path, by its run id, by a unique prefix of its run id, or by `LAST` for the newest run.

        A file with the name `last` needs a path such as `./last`.

        Raises:
            UsageError: when there is no such log, or when several run ids begin with the prefix.
        """
        if name == LAST:
            return self._find_newest()
        path = Path(name)
        if is_file(path):
            return path
        if is_run_id(name) and is_file(self.path_of(name)):
            return self.path_of(name)
        ids = [path.stem for path in self]
        return self.path_of(choose_id(name, ids, self, self.folder, "run"))

    def _find_newest(self) -> Path:
        # Only ids of runs sort by time: a copy with another name may lie in the folder.
        newest = next((path for path in self if is_run_id(path.stem)), None)
        if newest is None:
            raise UsageError("there is no last run", hint=f"there are no runs in {self.folder}")
        return newest

    @property
    def pruned_file(self) -> Path:
        """The file of logs removed by `audit prune`, with one line per log."""
        return self.folder.with_name("pruned.jsonl")

    def pruned_at(self, run_id: str) -> str | None:
        """Time of the removal of a run's log by `audit prune`; None without a recorded removal."""
        found = None
        with suppress(OSError), self.pruned_file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if f'"{run_id}"' in line:
                    with suppress(ValueError, RecursionError):
                        record = json.loads(line)
                        found = record["ts"] if isinstance(record, dict) and record.get("run_id") == run_id else found
        return found

    @property
    def location(self) -> str:
        """The folder of the logs."""
        return str(self.folder)

    def create_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new run, as `RunStore.create_log`."""
        from orchestrator.audit.log import AuditLog  # noqa: PLC0415 - the same

        return AuditLog.create(self.path_of(run_id), run_id, first, observers=observers)

    async def begin_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new run, as `RunStore.begin_log`: a file answers at once."""
        return self.create_log(run_id, first, observers)

    def get_run(self, run_id: str) -> FileRun:
        """Return a run by its id."""
        return FileRun(self.path_of(run_id))

    def find_run(self, name: str) -> FileRun:
        """Find a run, as `RunStore.find_run`."""
        return open_run_file(self.find_log(name))

    def list_runs(self) -> Iterator[FileRun]:
        """List the runs, newest first; only regular files count."""
        return map(FileRun, self)

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the logs, newest first; only regular files count, because a read from a pipe could hang.

        Raises:
            SettingsError: when the folder cannot be read.
        """
        yield from list_logs(self.folder, "runs")


def open_run_file(path: Path) -> FileRun:
    """Return the run of a log named by its path.

    Raises:
        UsageError: when the file is a plan file.
    """
    if is_plan_file(path):
        hint = f"carry the plan out with `orchestrator run --plan {path}`; a run id or a log is wanted here"
        raise UsageError("this is a plan file, not the audit log of a run", file=path, hint=hint)
    return FileRun(path)


def list_logs(folder: Path, what: str) -> Iterator[Path]:
    """List the logs of a folder, newest first; only regular files count, because a read from a pipe could hang.

    Args:
        folder: the folder; may be missing.
        what: the runs of the folder, for the error: `runs` or `fleet runs`.

    Raises:
        SettingsError: when the folder can't be read.
    """
    try:
        every = [path for path in folder.iterdir() if path.suffix == ".jsonl" and not path.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise SettingsError(f"the folder of {what} can't be read: {error.strerror}", file=folder) from error
    yield from sorted(filter(is_file, every), reverse=True)


def choose_id(name: str, ids: Sequence[str], runs: FileRunStore, folder: Path, noun: str) -> str:
    """Return the only id with a prefix.

    Args:
        name: the prefix.
        ids: all ids, the newest first.
        runs: the store with the list of pruned logs.
        folder: the folder of the logs.
        noun: the word for the owner of an id: `run` or `fleet run`.

    Raises:
        UsageError: when several ids begin with the prefix, or no id; the error names candidates.
    """
    begun = [each for each in ids if name and each.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        hint = f"give more of the id: {', '.join(begun[:5])}"
        raise UsageError(f"{len(begun)} {noun} ids begin with {name!r}", hint=hint)
    pruned_at = runs.pruned_at(name)
    if pruned_at is not None:
        hint = "that file has its digest"
        raise UsageError(f"{noun} {name} was pruned at {pruned_at}", file=runs.pruned_file, hint=hint)
    nearest = difflib.get_close_matches(name, ids[:_MOST_COMPARED], n=1, cutoff=0.8)
    hint = f"the newest are: {', '.join(ids[:3])}" if ids else f"there are no {noun}s in {folder}"
    raise UsageError(f"there is no {noun} {name!r}", hint=f"did you mean {nearest[0]}? {hint}" if nearest else hint)


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
