"""Events of the service: into the journal first, then to the log and the metrics."""

from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.protocols import EventSink, Journal
from orchestrator.service.service_state import ServiceState
from orchestrator.service.troubles import Troubles


class JournalWriter:
    """Writer of the journal; passes written events on to an event sink.

    Attributes:
        emit: the event sink; called directly for events outside the journal.
        troubles: the current problems of the service.
    """

    def __init__(self, journal: Journal, emit: EventSink) -> None:
        self._journal, self.emit = journal, emit
        self.troubles = Troubles(emit)

    @property
    def state(self) -> ServiceState:
        """State after all written records."""
        return self._journal.state

    @property
    def failure(self) -> str | None:
        """Reason of a failed last write; None after a successful write."""
        return self._journal.failure

    async def write(self, event: str, **fields: object) -> None:
        """Write an event to the journal, then pass the event on. An event that is not on disk did not happen.

        Raises:
            OSError: when the journal can't be written.
        """
        await self._journal.write(event, **fields)
        self.emit(event, **fields)

    async def write_claim(self, claim: FiringClaim, loaded: LoadedPlaybook | None) -> None:
        """Write the claim of a firing, then pass the event on.

        Raises:
            OSError: when the journal can't be written; no run starts then.
        """
        await self._journal.write_claim(claim, loaded)
        self.emit("firing.claimed", **claim.record_fields())
