"""The journal and the snoozes of the service in the team store, for commands; and the pushed playbooks as files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.postgres import playbooks
from orchestrator.postgres.connect import connect
from orchestrator.postgres.playbooks import PushedFolder, StoredSnooze
from orchestrator.service.duty_journal import replay_lines
from orchestrator.service.scheduler import Snooze, Snoozed
from orchestrator.service.service_state import ServiceState
from orchestrator.settings.model import StoreSection
from orchestrator.state_files import make_folder, replace_file

if TYPE_CHECKING:
    import psycopg

OpenConnection = Callable[[], AbstractContextManager["psycopg.Connection"]]


def open_connection(store: StoreSection) -> OpenConnection:
    """Return a function that opens a connection to the team store."""

    def open_one() -> "psycopg.Connection":
        assert store.url is not None  # noqa: S101 - the caller has a team store
        return connect(store.url, listen=store.listen)

    return open_one


class TeamJournal:
    """The journal in the team store, as `JournalReader`. The leader of the schedules writes the journal."""

    def __init__(self, open_one: OpenConnection) -> None:
        self._open = open_one

    def read_state(self) -> ServiceState:
        """Read the state, as `JournalReader.read_state`.

        Raises:
            SettingsError: when the journal is damaged, or the database refuses the user.
            StoreDownError: when the database can't be reached.
        """
        with self._open() as connection:
            return replay_lines(playbooks.read_journal(connection))


class TeamSnoozes:
    """The snoozes in the team store, as `SnoozeStore`."""

    def __init__(self, open_one: OpenConnection) -> None:
        self._open = open_one

    def read_snoozes(self) -> dict[str, Snoozed]:
        """Read all snoozes, as `SnoozeStore.read_snoozes`."""
        with self._open() as connection:
            return convert_snoozes(playbooks.list_snoozes(connection))

    def set_snooze(self, name: str, snoozed: Snoozed) -> None:
        """Snooze a playbook, as `SnoozeStore.set_snooze`."""
        with self._open() as connection:
            snooze = snoozed.snooze
            playbooks.set_snooze(connection, StoredSnooze(name, snooze.begins, snooze.until, snoozed.by))

    def clear_snooze(self, name: str, now: datetime) -> bool:
        """End the snooze of a playbook, as `SnoozeStore.clear_snooze`."""
        with self._open() as connection:
            return playbooks.clear_snooze(connection, name, now)


def convert_snoozes(found: "list[StoredSnooze]") -> dict[str, Snoozed]:
    """Return the snoozes by the names of their playbooks."""
    return {each.playbook: Snoozed(Snooze(each.begins, each.until), each.by) for each in found}


@contextmanager
def open_pushed(open_one: OpenConnection) -> Iterator[dict[str, Path]]:
    """Write the pushed playbooks to a temporary folder; yields their files by playbook name.

    Raises:
        SettingsError: when the database refuses the user.
        StoreDownError: when the database can't be reached.
        OSError: when the files can't be written.
    """
    with open_one() as connection:
        pushed = playbooks.read_pushed(connection)
    with TemporaryDirectory(prefix="orchestrator-") as folder:
        write_folder(pushed, Path(folder))
        yield {each.name: Path(folder) / each.file for each in pushed.playbooks}


def write_folder(pushed: PushedFolder, folder: Path) -> None:
    """Write the pushed playbooks and their calendars to a folder, and remove all other files there.

    Raises:
        OSError: when a file can't be written or removed.
    """
    wanted: dict[Path, bytes] = {folder / path: data for path, data in pushed.calendars.items()}
    wanted |= {folder / each.file: each.source for each in pushed.playbooks}
    make_folder(folder)
    _check_places(folder, wanted)
    # Calendars first: a playbook is read with the calendars of the same push.
    for path, data in wanted.items():
        make_folder(path.parent)
        if not path.is_file() or path.read_bytes() != data:
            replace_file(path, data)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()


def _check_places(folder: Path, wanted: Mapping[Path, bytes]) -> None:
    """Refuse files outside of the folder: a row of the database must not choose another place on this machine."""
    for path in wanted:
        if ".." in path.parts or not path.is_relative_to(folder):
            raise OSError(f"the pushed file {path} lies outside of the folder; push the playbooks again")
