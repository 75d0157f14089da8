"""What happens goes through here: into the journal first, and then to those who want to know."""

from orchestrator.service.journal import Journal
from orchestrator.service.protocols import Tell
from orchestrator.service.service_state import ServiceState


class JournalWriter:
    """Writes down, and tells.

    Attributes:
        tell: told of what is not written down.
        troubles: what keeps the service from doing its work, by what is in trouble.
    """

    def __init__(self, journal: Journal, tell: Tell) -> None:
        self._journal, self.tell = journal, tell
        self.troubles: dict[str, str] = {}

    @property
    def memory(self) -> ServiceState:
        """What is written down."""
        return self._journal.memory

    @property
    def failure(self) -> str | None:
        """Why nothing could be written down the last time; None when it could."""
        return self._journal.failure

    async def write(self, event: str, **fields: object) -> None:
        """Write something down, and tell of it; what is not on disk did not happen.

        Raises:
            OSError: when it can't be written.
        """
        await self._journal.write(event, **fields)
        self.tell(event, **fields)

    def note(self, what: str, trouble: str | None) -> None:
        """Tell of a trouble when it comes, when it changes, and when it goes."""
        if trouble == self.troubles.get(what):
            return
        if trouble is None:
            del self.troubles[what]
            self.tell("service.mended", what=what)
        else:
            self.troubles[what] = trouble
            self.tell("service.trouble", what=what, reason=trouble)
