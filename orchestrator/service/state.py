"""What the state folder of a service tells the other commands, whether the service runs or not."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.service.folder import Folder, Watched
from orchestrator.service.journal import FOLDER, read_memory
from orchestrator.service.scheduler import NOTHING_DECIDED, Decided, Snooze
from orchestrator.service.snoozes import SnoozeFile

KEPT = "kept"
"""Where copies of the last valid versions lie, below the service's folder."""


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What is known of one playbook's schedule.

    Attributes:
        decided: which firings are decided and which are planned.
        snooze: the playbook's snooze, also one that is over; None where it has none.
    """

    decided: Decided = NOTHING_DECIDED
    snooze: Snooze | None = None


def read_schedule_state(state_dir: Path, name: str) -> ScheduleState:
    """Read what is known of a playbook's schedule.

    Raises:
        SettingsError: when a file of the service is not what was written.
        OSError: when one can't be read.
    """
    known = dict(read_memory(state_dir).present()).get(name)
    snoozed = SnoozeFile(state_dir).read().get(name)
    return ScheduleState(
        NOTHING_DECIDED if known is None else Decided.of(known), None if snoozed is None else snoozed.snooze
    )


def read_kept_version(state_dir: Path, file: Path) -> Watched | None:
    """The last valid version of a playbook, where a service goes on with it although the file can't be used.

    Raises:
        SettingsError: when the service's journal is not what was written.
        OSError: when it can't be read.
    """
    file = file.absolute()
    if str(file) not in {known.file for _, known in read_memory(state_dir).present()}:
        return None
    return Folder(file.parent, state_dir.expanduser() / FOLDER / KEPT).last_valid(file)
