"""Stores of fleet logs: the protocol of a store, and the folder of files as its first implementation."""

import difflib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.store import FileRun, FileRunStore, StoredRun, is_file, is_run_id, new_run_id, read_run
from orchestrator.audit.verify import Verdict
from orchestrator.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from orchestrator.audit.log import AuditLog, Observer

PREFIX = "fleet-"
"""Beginning of every id of a fleet run."""


def new_fleet_id(moment: datetime) -> str:
    """Make an id for a new fleet run; ids sort by time."""
    return PREFIX + new_run_id(moment)


def is_fleet_id(name: str) -> bool:
    """Return True if a name has the form of `new_fleet_id`."""
    return name.startswith(PREFIX) and is_run_id(name.removeprefix(PREFIX))


def is_void(fleet: StoredRun) -> bool:
    """Check for the end of a fleet run before its plan: nothing was sent, and no run can be resumed."""
    state = FleetState()
    try:
        if fleet.is_locked():
            return False
        reading = read_run(fleet, state.apply_record)
    except (OSError, UsageError):  # a missing fleet log proves nothing
        return False
    return reading.verdict is not Verdict.ALTERED and state.finished is None and not state.has_plan


class FleetStore(Protocol):
    """Store of fleet logs."""

    def create_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new fleet run; the first records are durable at the return.

        Raises:
            SettingsError: when the log can't be written; no request was sent then.
        """
        ...

    def get_fleet(self, fleet_id: str) -> StoredRun:
        """Return the log of a fleet run by its id; the log need not exist."""
        ...

    def find_fleet(self, name: str) -> StoredRun:
        """Find the log of a fleet run by its id, or by a unique prefix of its id.

        Raises:
            UsageError: when there is no such fleet run, or when several ids begin with the prefix.
        """
        ...

    def list_fleets(self) -> Iterator[StoredRun]:
        """List the logs of all fleet runs, newest first.

        Raises:
            SettingsError: when the store can't be read.
        """
        ...


class FileFleetStore:
    """The fleet logs of a state folder, with a file for each log, as `FleetStore`.

    Attributes:
        folder: folder of the logs.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir.expanduser() / "fleets"

    def create_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new fleet run, as `FleetStore.create_log`."""
        from orchestrator.audit.log import AuditLog  # noqa: PLC0415 - takes long to import; readers do without

        return AuditLog.create(self._path_of(fleet_id), fleet_id, first, observers=observers)

    def get_fleet(self, fleet_id: str) -> FileRun:
        """Return the log of a fleet run by its id."""
        return FileRun(self._path_of(fleet_id))

    def find_fleet(self, name: str) -> FileRun:
        """Find the log of a fleet run, as `FleetStore.find_fleet`."""
        found = self.get_fleet(name)
        if is_fleet_id(name) and is_file(found.path):
            return found
        ids = [fleet.run_id for fleet in self.list_fleets()]
        begun = [fleet_id for fleet_id in ids if fleet_id.startswith(name)]
        if len(begun) == 1:
            return self.get_fleet(begun[0])
        if begun:
            candidates = ", ".join(begun[:5])
            raise UsageError(f"{len(begun)} fleet run ids begin with {name!r}", hint=f"give more: {candidates}")
        runs = FileRunStore(self.folder.parent)
        pruned_at = runs.pruned_at(name)
        if pruned_at is not None:
            raise UsageError(
                f"fleet run {name} was pruned at {pruned_at}", file=runs.pruned_file, hint="that file has its digest"
            )
        nearest = difflib.get_close_matches(name, ids, n=1, cutoff=0.8)
        hint = f"the newest are: {', '.join(ids[:3])}" if ids else f"there are no fleet runs in {self.folder}"
        raise UsageError(
            f"there is no fleet run {name!r}", hint=f"did you mean {nearest[0]}? {hint}" if nearest else hint
        )

    def list_fleets(self) -> Iterator[FileRun]:
        """List the logs of all fleet runs, newest first; only regular files count."""
        try:
            every = [path for path in self.folder.iterdir() if path.suffix == ".jsonl" and is_fleet_id(path.stem)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise SettingsError(
                f"the folder of fleet runs can't be read: {error.strerror}", file=self.folder
            ) from error
        yield from map(FileRun, sorted(filter(is_file, every), reverse=True))

    def _path_of(self, fleet_id: str) -> Path:
        return self.folder / f"{fleet_id}.jsonl"
