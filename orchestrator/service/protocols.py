"""Interfaces to the outside: clock, runner, event sink and the stores of the service."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.keeping import KeepReading
from orchestrator.runs.status import Ended, RunStatus, StopRequest
from orchestrator.service.scheduler import Snoozed
from orchestrator.service.service_state import ServiceState


class WallClock(Protocol):
    """A clock for the time of day."""

    def wall(self) -> datetime:
        """Return the time of day, in UTC."""
        ...


class KeepSource(Protocol):
    """Reads the exemptions, for the overview."""

    async def __call__(self) -> KeepReading:
        """Read the exemptions.

        Raises:
            OrchestratorError: when the exemptions can't be read, or are invalid without an earlier valid version.
        """
        ...


class Runner(Protocol):
    """Executes runs. Failures of a run are results, not exceptions."""

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        """Return True if a firing of the playbook is a fleet run, under the id of a fleet run."""
        ...

    async def read_status(self, run_id: str) -> RunStatus:
        """Read the status of a run from its audit log, or of a fleet run from its logs."""
        ...

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: StopRequest) -> Ended:
        """Plan and execute a new run."""
        ...

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Continue a run with an unfinished log."""
        ...


class EventSink(Protocol):
    """Receives every event for the log and the metrics."""

    def __call__(self, event: str, /, **facts: object) -> None:
        """Handle an event; must not raise."""
        ...


class Journal(Protocol):
    """The open journal of a service. One service at a time has the journal."""

    @property
    def state(self) -> ServiceState:
        """The state after all written records."""
        ...

    @property
    def failure(self) -> str | None:
        """Reason of a failed last write; None after a successful write."""
        ...

    async def write(self, event: str, **fields: object) -> None:
        """Append a record; the record is durable at the return.

        Raises:
            OSError: when the record can't be written; the caller must not act on the decision then.
        """
        ...

    async def write_claim(self, claim: FiringClaim, loaded: LoadedPlaybook | None) -> None:
        """Append the claim of a firing; a store for several machines also submits the run, in the same transaction.

        Args:
            claim: the claim; the run of a queued claim is not submitted yet.
            loaded: the playbook; None without a valid playbook.

        Raises:
            OSError: when the claim can't be written; no run starts then.
        """
        ...

    def close(self) -> None:
        """Close the journal, for the next service. A second call does nothing."""
        ...


class JournalReader(Protocol):
    """Reader of the journal, for commands; the service need not be running."""

    def read_state(self) -> ServiceState:
        """Read the state without the lock; an empty state without a journal.

        Raises:
            SettingsError: when the journal is damaged.
            StoreDownError: when the team store can't be reached.
            OSError: when the journal can't be read.
        """
        ...


class JournalStore(JournalReader, Protocol):
    """Store of the journal on one machine."""

    def open_journal(self) -> Journal:
        """Lock the journal for this service, and read its state.

        Raises:
            RunHeldError: when another service holds the journal.
            SettingsError: when the journal can't be used.
        """
        ...


class SnoozeReader(Protocol):
    """Reader of the snoozes."""

    def read_snoozes(self) -> Mapping[str, Snoozed]:
        """Read all snoozes, also ended snoozes, by playbook name.

        Raises:
            SettingsError: when the snoozes are damaged or can't be read.
            StoreDownError: when the team store can't be reached.
        """
        ...


class SnoozeStore(SnoozeReader, Protocol):
    """Store of the snoozes. Every method raises StoreDownError when the team store can't be reached."""

    def set_snooze(self, name: str, snoozed: Snoozed) -> None:
        """Snooze a playbook, or change the end of its snooze; durable at the return.

        Raises:
            SettingsError: when the snooze can't be written.
        """
        ...

    def clear_snooze(self, name: str, now: datetime) -> bool:
        """End the snooze of a playbook now; returns False without an active snooze.

        Raises:
            SettingsError: when the change can't be written.
        """
        ...
