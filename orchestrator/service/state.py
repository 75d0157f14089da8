"""The service's state folder, read by other commands; the service need not be running."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.service.folder import PlaybookFolder, ScheduledPlaybook
from orchestrator.service.journal import FOLDER, read_state
from orchestrator.service.scheduler import NOTHING_DECIDED, Decided, Snooze
from orchestrator.service.snoozes import SnoozeFile

KEPT = "kept"
"""Name of the folder for copies of the last valid versions, in the service's folder."""


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """Stored state of a playbook's schedule.

    Attributes:
        decided: the decided and the planned firings.
        snooze: the snooze of the playbook, perhaps ended; None without a snooze.
    """

    decided: Decided = NOTHING_DECIDED
    snooze: Snooze | None = None


def read_stored_schedule(state_dir: Path, name: str) -> StoredSchedule:
    """Read the stored state of a playbook's schedule.

    Raises:
        SettingsError: when a file of the service is damaged.
        OSError: when a file can't be read.
    """
    known = dict(read_state(state_dir).list_present()).get(name)
    snoozed = SnoozeFile(state_dir).read().get(name)
    return StoredSchedule(
        NOTHING_DECIDED if known is None else Decided.of(known), None if snoozed is None else snoozed.snooze
    )


def read_kept_version(state_dir: Path, file: Path) -> ScheduledPlaybook | None:
    """Read the last valid version of a playbook, used by the service instead of an invalid file.

    Raises:
        SettingsError: when the service's journal is damaged.
        OSError: when the journal can't be read.
    """
    file = file.absolute()
    if str(file) not in {known.file for _, known in read_state(state_dir).list_present()}:
        return None
    return PlaybookFolder(file.parent, state_dir.expanduser() / FOLDER / KEPT).read_last_valid(file)
