"""Fleet runs in the team store: the log of a fleet run is kept as the log of a run without a workspace."""

from collections.abc import Iterable, Iterator

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.log import AuditLog, Observer
from orchestrator.audit.store import FileRun, choose_id
from orchestrator.postgres.run_store import StoreRun, StoreRunStore


class StoreFleetStore:
    """The fleet runs of the team store, as `FleetStore`. The files are mirrors of the logs."""

    def __init__(self, logs: StoreRunStore) -> None:
        """Set up.

        Args:
            logs: the store of logs, for new runs without a workspace.
        """
        self._logs = logs

    def create_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        """Create the log of a new fleet run, as `FleetStore.create_log`."""
        return self._logs.create_log(fleet_id, first, observers)

    async def begin_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        """Create the log of a new fleet run, as `FleetStore.begin_log`."""
        return await self._logs.begin_log(fleet_id, first, observers)

    def get_fleet(self, fleet_id: str) -> StoreRun:
        """Return the log of a fleet run by its id."""
        return self._logs.get_run(fleet_id)

    def find_fleet(self, name: str) -> StoreRun:
        """Find the log of a fleet run, as `FleetStore.find_fleet`."""
        ids = list(filter(is_fleet_id, self._logs.list_ids()))
        return self.get_fleet(name if name in ids else choose_id(name, ids, self._logs, self._logs.folder, "fleet run"))

    def list_fleets(self) -> Iterator[FileRun]:
        """List the logs of all fleet runs, newest first, with their mirrors up to date."""
        return self._logs.list_logs(is_fleet_id)
