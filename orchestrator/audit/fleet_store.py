"""Stores of fleet logs: the protocol of a store, and the folder of files as its first implementation."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.store import (
    FileRun,
    FileRunStore,
    StoredRun,
    choose_id,
    is_file,
    is_run_id,
    list_logs,
    new_run_id,
    read_run,
)
from orchestrator.audit.verify import Verdict
from orchestrator.errors import OrchestratorError, UsageError

if TYPE_CHECKING:
    from orchestrator.audit.log import AuditLog, Observer

_Error = TypeVar("_Error", bound=OrchestratorError)

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


def void_error(fleet: StoredRun, kind: type[_Error]) -> _Error:
    """Build the error for a fleet run without a plan."""
    return kind(
        "the fleet run ended before the record of its plan, so nothing was sent",
        file=fleet.location,
        hint=f"end its runs with `orchestrator abandon {fleet.run_id} --reason TEXT`, and start a new run",
    )


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

    async def begin_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log as `create_log`, but let the other tasks go on while the store does not answer."""
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

    async def begin_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: "Iterable[Observer]" = ()
    ) -> "AuditLog":
        """Create the log of a new fleet run, as `FleetStore.begin_log`: a file answers at once."""
        return self.create_log(fleet_id, first, observers)

    def get_fleet(self, fleet_id: str) -> FileRun:
        """Return the log of a fleet run by its id."""
        return FileRun(self._path_of(fleet_id))

    def find_fleet(self, name: str) -> FileRun:
        """Find the log of a fleet run, as `FleetStore.find_fleet`."""
        found = self.get_fleet(name)
        if is_fleet_id(name) and is_file(found.path):
            return found
        ids = [fleet.run_id for fleet in self.list_fleets()]
        return self.get_fleet(choose_id(name, ids, FileRunStore(self.folder.parent), self.folder, "fleet run"))

    def list_fleets(self) -> Iterator[FileRun]:
        """List the logs of all fleet runs, newest first; only regular files count."""
        return (FileRun(path) for path in list_logs(self.folder, "fleet runs") if is_fleet_id(path.stem))

    def _path_of(self, fleet_id: str) -> Path:
        return self.folder / f"{fleet_id}.jsonl"
