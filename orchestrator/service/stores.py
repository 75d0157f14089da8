"""The stores of the service, built from the settings. The only place that chooses an implementation."""

from pathlib import Path

from orchestrator.service.journal import FOLDER, FileJournalStore
from orchestrator.service.protocols import JournalStore, SnoozeStore
from orchestrator.service.snoozes import FileSnoozeStore
from orchestrator.settings.load import Settings


def journal_store(settings: Settings) -> JournalStore:
    """Return the store of the journal."""
    return FileJournalStore(settings.audit.state_dir)


def snooze_store(settings: Settings) -> SnoozeStore:
    """Return the store of the snoozes."""
    return FileSnoozeStore(settings.audit.state_dir)


def kept_folder(settings: Settings) -> Path:
    """Return the folder with copies of the last valid playbooks."""
    return settings.audit.state_dir.expanduser() / FOLDER / "kept"
