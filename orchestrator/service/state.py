"""The service's stored state, read by other commands; the service need not be running."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.playbook.schema import Guards
from orchestrator.service.folder import PlaybookFolder, ScheduledPlaybook
from orchestrator.service.protocols import JournalReader, SnoozeStore
from orchestrator.service.scheduler import NOTHING_DECIDED, Decided, Snooze


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """Stored state of a playbook's schedule.

    Attributes:
        decided: the decided and the planned firings.
        snooze: the snooze of the playbook, perhaps ended; None without a snooze.
    """

    decided: Decided = NOTHING_DECIDED
    snooze: Snooze | None = None


def read_stored_schedule(journal: JournalReader, snoozes: SnoozeStore, name: str) -> StoredSchedule:
    """Read the stored state of a playbook's schedule.

    Raises:
        SettingsError: when the journal or the snoozes are damaged.
        OSError: when the journal can't be read.
    """
    known = dict(journal.read_state().list_present()).get(name)
    snoozed = snoozes.read_snoozes().get(name)
    return StoredSchedule(
        NOTHING_DECIDED if known is None else Decided.of(known), None if snoozed is None else snoozed.snooze
    )


def read_kept_version(
    journal: JournalReader, kept: Path, file: Path, guards: Guards | None = None
) -> ScheduledPlaybook | None:
    """Read the last valid version of a playbook, used by the service instead of an invalid file.

    Args:
        journal: the store of the journal.
        kept: the folder with copies of the last valid playbooks.
        file: the file of the playbook.
        guards: the guards of the settings, for their freezes.

    Raises:
        SettingsError: when the service's journal is damaged.
        OSError: when the journal can't be read.
    """
    file = file.absolute()
    if str(file) not in {known.file for _, known in journal.read_state().list_present()}:
        return None
    return PlaybookFolder(file.parent, kept, guards=guards).read_last_valid(file)
