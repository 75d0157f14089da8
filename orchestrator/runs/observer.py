"""The observer of a run, for logs, metrics and displays."""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `plan` writes no log, and starts without the import of the audit log
    from orchestrator.audit.log import Observer
    from orchestrator.audit.record import Record
    from orchestrator.audit.replay import RunState


class RunObserver:
    """Receives the audit records and the warnings of a run, and ignores both: override the methods of interest.

    The methods run in the event loop of the run: they must return soon, and not raise.
    """

    def on_record(self, record: "Record", state: "RunState") -> None:
        """Receive a durable record of the audit log.

        Args:
            record: the record; not to be changed.
            state: the replayed state of the log, the record included.
        """

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Receive a warning about a condition without a record of its own, such as an outage of the API.

        Args:
            event: the name of the condition, such as `api.down`.
            **facts: the facts of the condition.
        """


def forward_records(observer: RunObserver, state: "RunState") -> "Observer":
    """Return an observer of a log to pass its records on, together with the replayed state of the log."""
    return partial(_forward_record, observer, state)


def _forward_record(observer: RunObserver, state: "RunState", record: "Record") -> None:
    observer.on_record(record, state)
