"""The stores of the service, built from the settings. Implementations are chosen here alone."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from orchestrator.service.journal import FOLDER, FileJournalStore, lock_service
from orchestrator.service.protocols import JournalReader, JournalStore, SnoozeStore
from orchestrator.service.snoozes import FileSnoozeStore
from orchestrator.settings.load import Settings


def journal_store(settings: Settings) -> JournalStore:
    """Return the store of the journal on this machine."""
    return FileJournalStore(settings.audit.state_dir)


def journal_reader(settings: Settings) -> JournalReader:
    """Return the reader of the journal: in the team store, or on this machine."""
    if settings.store.url is None:
        return journal_store(settings)
    from orchestrator.service.team_stores import TeamJournal, open_connection  # noqa: PLC0415 - only with a team store

    return TeamJournal(open_connection(settings.store))


def snooze_store(settings: Settings) -> SnoozeStore:
    """Return the store of the snoozes: in the team store, or on this machine."""
    if settings.store.url is None:
        return FileSnoozeStore(settings.audit.state_dir)
    from orchestrator.service.team_stores import TeamSnoozes, open_connection  # noqa: PLC0415 - only with a team store

    return TeamSnoozes(open_connection(settings.store))


def open_pushed(settings: Settings) -> AbstractContextManager[dict[str, Path] | None]:
    """Open the pushed playbooks of the team store: their files by playbook name; None without a team store."""
    if settings.store.url is None:
        return nullcontext()
    from orchestrator.service import team_stores  # noqa: PLC0415 - only with a team store

    return team_stores.open_pushed(team_stores.open_connection(settings.store))


def kept_folder(settings: Settings) -> Path:
    """Return the folder with copies of the last valid playbooks."""
    return settings.audit.state_dir.expanduser() / FOLDER / "kept"


def lock_folder(settings: Settings) -> AbstractContextManager[None]:
    """Lock the service's folder within the block, against other services of this machine.

    Raises:
        RunHeldError: when another service uses the folder.
        SettingsError: when the folder can't be used.
    """
    return lock_service(settings.audit.state_dir)


def pushed_folder(settings: Settings) -> Path:
    """Return the folder with copies of the pushed playbooks."""
    return settings.audit.state_dir.expanduser() / FOLDER / "pushed"
