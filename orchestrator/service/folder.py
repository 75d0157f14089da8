"""The folder of playbooks, looked at again and again: what is scheduled in it, and what is wrong with it.

A file that can't be used any more leaves its last valid version in force. A copy of that is kept in the state folder,
so that it also holds when the service is started anew.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator.errors import MissingVariableError, OrchestratorError
from orchestrator.moment import utc_now
from orchestrator.playbook.firings import Timetable, next_firing
from orchestrator.playbook.load import LoadedPlaybook, playbook_from
from orchestrator.playbook.schedule import CalendarFile
from orchestrator.playbook.source import parse_source, read_source
from orchestrator.playbook.timetable import load_timetable
from orchestrator.state_files import make_folder, replace_file

_Signature = tuple[tuple[str, int, int, int] | tuple[str], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """A playbook with a schedule.

    Attributes:
        loaded: the playbook.
        timetable: its schedule.
        when: a digest of when it fires; another one is another schedule.
        left_out: a digest of what it leaves out.
    """

    loaded: LoadedPlaybook = field(repr=False)
    timetable: Timetable = field(repr=False)
    when: str
    left_out: str

    @property
    def name(self) -> str:
        """The playbook's."""
        return self.timetable.name

    @property
    def file(self) -> str:
        """Where it was read."""
        return str(self.loaded.file)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file.

    Attributes:
        file: which.
        message: what is wrong, and where.
        hint: what to do about it.
        keeps: the playbook of which the last valid version stays in force; None where there is none.
    """

    file: str
    message: str
    hint: str | None = None
    keeps: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the folder holds.

    Attributes:
        watched: the playbooks with a schedule, by name.
        faults: what is wrong.
    """

    watched: Mapping[str, Watched]
    faults: tuple[Fault, ...] = ()


@dataclass(slots=True)
class _File:
    """What is known of one file: how it was when it was read, and what came of that."""

    signature: _Signature = ()
    watched: Watched | None = None
    fault: Fault | None = None
    calendars: tuple[Path, ...] = ()


class Folder:
    """A folder of playbooks.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path, kept: Path, *, wall: Callable[[], datetime] = utc_now) -> None:
        """Set up.

        Args:
            path: the folder.
            kept: where copies of the last valid versions are kept.
            wall: the time of day.
        """
        self.path = path.absolute()
        self._kept = kept / hashlib.sha256(str(self.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._wall = wall
        self._files: dict[Path, _File] = {}

    def look(self, owners: Mapping[str, str]) -> Reading:
        """Read what changed since the last look.

        Args:
            owners: the file from which each playbook's schedule was taken, by its name; another file of that name
                does not take it over while this one has it.

        Raises:
            OSError: when the folder can't be read.
        """
        with os.scandir(self.path) as entries:
            paths = sorted(self.path / entry.name for entry in entries if _is_playbook(entry))
        for path in set(self._files) - set(paths):
            del self._files[path]
            self._kept_copy(path).unlink(missing_ok=True)
        for path in paths:
            file = self._files.setdefault(path, _File())
            before = _signature((path, *file.calendars))
            if before != file.signature:
                calendars = file.calendars
                self._read(path, file)
                # Taken before the reading, so that a change in the middle of it shows at the next look.
                same = calendars == file.calendars
                file.signature = before if same else before[:1] + _signature(file.calendars)
        return self._reading(owners)

    def _read(self, path: Path, file: _File) -> None:
        first = file.signature == ()
        try:
            source = read_source(path)
            if "schedule" not in source.tree:
                file.watched, file.fault, file.calendars = None, None, ()
                return
            loaded = playbook_from(source, {})
            file.calendars = _calendars(loaded)
            file.watched, file.fault = self._watched(loaded), None
            self._keep(path, source.data)
        except (OrchestratorError, OSError) as error:
            if first:
                file.watched = self._last_valid(path)
            keeps = file.watched.name if file.watched is not None else None
            hint = error.hint if isinstance(error, OrchestratorError) else None
            if isinstance(error, MissingVariableError):
                hint = "give it a default: nobody is there to give it a value when it fires"
            file.fault = Fault(str(path), str(error), hint, keeps)

    def _watched(self, loaded: LoadedPlaybook) -> Watched:
        timetable = load_timetable(loaded)
        assert timetable is not None  # noqa: S101 - it has a schedule
        next_firing(timetable, self._wall())  # A calendar may make no sense only once it is asked.
        schedule = timetable.schedule
        when = [schedule.cron, schedule.timezone, str(schedule.from_), str(schedule.until)]
        left_out = [[each.text for each in schedule.not_on], [_digest_of(path) for path in _calendars(loaded)]]
        return Watched(loaded, timetable, _digest(when), _digest(left_out))

    def _reading(self, owners: Mapping[str, str]) -> Reading:
        by_name: dict[str, list[Watched]] = {}
        for file in self._files.values():
            if file.watched is not None:
                by_name.setdefault(file.watched.name, []).append(file.watched)
        watched = {}
        faults = [file.fault for file in self._files.values() if file.fault is not None]
        for name, several in by_name.items():
            one = next((each for each in several if each.file == owners.get(name)), None)
            if len(several) == 1:
                one = several[0]
            if one is not None:
                watched[name] = one
            for each in several:
                if each is not one:
                    others = ", ".join(Path(other.file).name for other in several if other is not each)
                    message = f"{each.file}: another playbook is called {name!r} too: {others}"
                    faults.append(Fault(each.file, message, "one name, one playbook: rename one of them"))
        return Reading(watched, tuple(faults))

    def _kept_copy(self, path: Path) -> Path:
        return self._kept / f"{path.name}.kept"

    def _keep(self, path: Path, data: bytes) -> None:
        """Keep a copy; without one things go on all the same."""
        copy = self._kept_copy(path)
        try:
            if copy.exists() and copy.read_bytes() == data:
                return
            make_folder(self._kept)
            replace_file(copy, data)
        except OSError:
            return

    def _last_valid(self, path: Path) -> Watched | None:
        """What an earlier service had of this file."""
        try:
            loaded = playbook_from(parse_source(self._kept_copy(path).read_bytes(), path), {})
            return self._watched(loaded)
        except (OrchestratorError, OSError):
            return None


def _is_playbook(entry: "os.DirEntry[str]") -> bool:
    return entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith(".") and entry.is_file()


def _calendars(loaded: LoadedPlaybook) -> tuple[Path, ...]:
    schedule = loaded.playbook.schedule
    entries = () if schedule is None else schedule.not_on
    return tuple(loaded.file.parent / each.text for each in entries if isinstance(each, CalendarFile))


def _signature(paths: tuple[Path, ...]) -> _Signature:
    found: list[tuple[str, int, int, int] | tuple[str]] = []
    for path in paths:
        try:
            stat = path.stat()
        except (OSError, ValueError):
            found.append((str(path),))
        else:
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
