"""The observer of a command's run: writes the records and warnings of interest to the log on stderr."""

from typing import TYPE_CHECKING

from orchestrator.runs.session import RunObserver

if TYPE_CHECKING:
    from orchestrator.audit.log import Observer
    from orchestrator.audit.record import Record
    from orchestrator.audit.replay import RunState
    from orchestrator.settings.load import Settings


class LogObserver(RunObserver):
    """Logs a run by the settings. Logging is imported with the first line, since the import takes long."""

    def __init__(self, settings: "Settings") -> None:
        """Set up; with a named workspace in the settings, every line names the workspace."""
        self._settings = settings.log
        name = settings.workspace_name
        self._about: dict[str, object] = {} if name is None else {"workspace": name}
        self._write: Observer | None = None

    def on_record(self, record: "Record", state: "RunState") -> None:
        """Log a record of interest to a person."""
        if self._write is None:
            from orchestrator.cli.event_log import configure_log, run_log  # noqa: PLC0415 - takes long to import

            configure_log(self._settings)
            self._write = run_log(self._settings, state, **self._about)
        self._write(record)

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Log a warning."""
        from orchestrator.cli.event_log import log_warning  # noqa: PLC0415 - takes long to import

        log_warning(self._settings, event, **self._about, **facts)
