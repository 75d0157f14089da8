"""Problems of the service itself: reported at the beginning and at the end."""

from orchestrator.service.protocols import EventSink


class Troubles:
    """The current problems, by the affected part of the service."""

    def __init__(self, emit: EventSink) -> None:
        self._emit = emit
        self._reasons: dict[str, str] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for a service out of order."""
        return tuple(self._reasons.values())

    def set(self, what: str, trouble: str | None) -> None:
        """Set or clear the trouble of a part of the service; reports only changes."""
        if trouble == self._reasons.get(what):
            return
        if trouble is None:
            del self._reasons[what]
            self._emit("service.mended", what=what)
        else:
            self._reasons[what] = trouble
            self._emit("service.trouble", what=what, reason=trouble)
