"""The folder of playbooks, looked at again and again: what is scheduled in it, and what is wrong with it.

A file that can't be used any more leaves its last valid version in force. A copy of that is kept in the state folder,
so that it also holds when the service is started anew.
"""

import difflib
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.errors import MissingVariableError, OrchestratorError
from orchestrator.moment import utc_now
from orchestrator.playbook.calendars import MAX_BYTES, CalendarReader, DaysOff, compute_digest
from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.regular_file import read_regular
from orchestrator.playbook.schedule import CalendarFile
from orchestrator.playbook.source import MAX_BYTES as MAX_PLAYBOOK
from orchestrator.playbook.source import Source, parse_source, read_source
from orchestrator.playbook.timetable import load_timetable
from orchestrator.state_files import make_folder, replace_file

ENDS_AFTER = 2
"""So many looks in a row find a file gone, or without a schedule, before its schedule ends."""
_READ_AGAIN = timedelta(minutes=5)
"""When a file that can't be used is read again, though it did not change: the cause may lie elsewhere."""
_KEYS = re.compile(rb"^(schedule|steps|name)[ \t]*:", re.MULTILINE)

_Signature = tuple[tuple[str, int, int, int] | tuple[str], ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """A playbook with a schedule.

    Attributes:
        loaded: the playbook.
        timetable: its schedule.
        when: a digest of when it fires; another one is another schedule.
        left_out: a digest of what it leaves out.
        digests: of the calendar files that it names, in their order.
    """

    loaded: LoadedPlaybook = field(repr=False)
    timetable: Timetable = field(repr=False)
    when: str
    left_out: str
    digests: tuple[str, ...] = ()

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
        unsettled: files that may be gone or without a schedule; the next look tells.
    """

    watched: Mapping[str, Watched]
    faults: tuple[Fault, ...] = ()
    unsettled: frozenset[str] = frozenset()


@dataclass(slots=True)
class _File:
    """What is known of one file: how it was when it was read, and what came of that.

    Attributes:
        signature: how the file and its calendars were.
        watched: its last valid version with a schedule.
        fault: why it can't be used.
        calendars: the calendars that it names.
        read_at: when it was read.
        looks: how many looks in a row found it gone, or without a schedule.
        is_gone: whether the last look did not find it.
    """

    signature: _Signature = ()
    watched: Watched | None = None
    fault: Fault | None = None
    calendars: tuple[Path, ...] = ()
    read_at: datetime | None = None
    looks: int = 0
    is_gone: bool = False


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
        self._read_calendar = CalendarReader()

    def stop(self) -> None:
        """End a look that goes on in another thread."""
        self._read_calendar.stop()

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
        owned = {Path(file) for file in owners.values() if Path(file).parent == self.path}
        for path in sorted({*self._files, *owned} - {*paths}):
            self._miss(path)
        for path in paths:
            file = self._file(path)
            if file.is_gone:
                file.is_gone, file.looks = False, 0
            before = _signature((path, *file.calendars))
            if before != file.signature or file.looks or self._is_to_be_read_again(file):
                calendars = file.calendars
                self._read(path, file, is_owned=path in owned)
                # Taken before the reading, so that a change in the middle of it shows at the next look.
                same = calendars == file.calendars
                file.signature = before if same else before[:1] + _signature(file.calendars)
        return self._reading(owners)

    def last_valid(self, path: Path) -> Watched | None:
        """The last valid version of a file that this or an earlier service kept."""
        try:
            loaded = load_source(parse_source(self._kept_copy(path).read_bytes(), path), {})
            schedule = loaded.playbook.schedule
            texts = _calendar_texts(loaded)
            if schedule is None:
                return None
            if not self._kept_calendars(path).exists():
                return self._watched(loaded)  # An earlier version kept none.
            kept = json.loads(self._kept_calendars(path).read_bytes())
            calendars = {text: DaysOff.of(kept[text][2]) for text in texts}
            for text in texts:
                self._read_calendar.remember(kept[text][0], kept[text][1], calendars[text])
            timetable = Timetable(loaded.playbook.name, schedule, calendars)
            return _watched(loaded, timetable, [kept[text][0] for text in texts])
        except (OrchestratorError, OSError, ValueError, KeyError, TypeError):
            return None

    def _file(self, path: Path) -> _File:
        if path not in self._files:
            self._files[path] = _File(watched=self.last_valid(path))
        return self._files[path]

    def _miss(self, path: Path) -> None:
        """Note that a file is not there: it may be on its way to be replaced."""
        file = self._file(path)
        file.looks = file.looks + 1 if file.is_gone else 1
        file.is_gone, file.signature = True, ()
        if file.looks >= ENDS_AFTER:
            del self._files[path]
            self._forget(path)

    def _is_to_be_read_again(self, file: _File) -> bool:
        if file.fault is None or file.read_at is None:
            return False
        return not timedelta() <= self._wall() - file.read_at < _READ_AGAIN

    def _read(self, path: Path, file: _File, *, is_owned: bool) -> None:
        file.read_at = self._wall()
        is_ours = is_owned or file.watched is not None
        try:
            source = read_source(path)
            is_ours = is_ours or _has_schedule(source)
            if not is_ours:
                file.watched, file.fault, file.calendars, file.looks = None, None, (), 0
                return
            # One that asks for values is valid as long as nobody schedules it.
            loaded = load_source(source, {}, allow_undefined="schedule" not in source.tree)
            file.calendars = _calendars(loaded)
            if loaded.playbook.schedule is None:
                self._note_no_schedule(path, file)
                return
            file.watched, file.fault, file.looks = self._watched(loaded), None, 0
            self._keep(path, file.watched)
        except (OrchestratorError, OSError, ValueError) as error:
            file.looks = 0
            if not is_ours and not _looks_like_ours(path):
                file.fault = None
                return
            keeps = file.watched.name if file.watched is not None else None
            hint = error.hint if isinstance(error, OrchestratorError) else None
            if isinstance(error, MissingVariableError):
                hint = "give it a default: nobody is there to give it a value when it fires"
            file.fault = Fault(str(path), str(error), hint, keeps)

    def _note_no_schedule(self, path: Path, file: _File) -> None:
        """Let a schedule go once two looks find a valid playbook without one: a file may be half written."""
        file.looks += 1
        file.fault = None
        if file.looks >= ENDS_AFTER:
            file.watched, file.looks = None, 0
            self._forget(path)

    def _watched(self, loaded: LoadedPlaybook) -> Watched:
        timetable = load_timetable(loaded, self._read_calendar)
        assert timetable is not None  # noqa: S101 - it has a schedule
        digests = [compute_digest(read_regular(path, MAX_BYTES)) for path in _calendars(loaded)]
        return _watched(loaded, timetable, digests)

    def _reading(self, owners: Mapping[str, str]) -> Reading:
        by_name: dict[str, list[Watched]] = {}
        for file in self._files.values():
            if file.watched is not None:
                by_name.setdefault(file.watched.name, []).append(file.watched)
        watched = {}
        faults = [file.fault for file in self._files.values() if file.fault is not None]
        for name, found in by_name.items():
            # A file that was renamed is its successor from the first look on.
            several = [each for each in found if not self._files[Path(each.file)].is_gone] or found
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
        return Reading(watched, tuple(faults), frozenset(str(path) for path, file in self._files.items() if file.looks))

    def _kept_copy(self, path: Path) -> Path:
        return self._kept / f"{path.name}.kept"

    def _kept_calendars(self, path: Path) -> Path:
        return self._kept / f"{path.name}.calendars.json"

    def _keep(self, path: Path, watched: Watched) -> None:
        """Keep a copy of a playbook, and of what its calendars come to; without one things go on all the same."""
        zone = watched.timetable.schedule.timezone
        found = watched.timetable.calendars
        calendars = {
            text: [digest, zone, calendar.document()]
            for text, digest in zip(_calendar_texts(watched.loaded), watched.digests, strict=True)
            if isinstance(calendar := found[text], DaysOff)
        }
        with suppress(OSError):
            if calendars:
                self._replace(self._kept_calendars(path), json.dumps(calendars).encode())
            self._replace(self._kept_copy(path), watched.loaded.data)

    def _replace(self, copy: Path, data: bytes) -> None:
        if copy.exists() and copy.read_bytes() == data:
            return
        make_folder(self._kept)
        replace_file(copy, data)

    def _forget(self, path: Path) -> None:
        for copy in (self._kept_copy(path), self._kept_calendars(path)):
            copy.unlink(missing_ok=True)


def _watched(loaded: LoadedPlaybook, timetable: Timetable, digests: list[str]) -> Watched:
    schedule = timetable.schedule
    when = [schedule.cron, schedule.timezone, str(schedule.from_), str(schedule.until)]
    left_out = [[each.text for each in schedule.not_on], digests]
    return Watched(loaded, timetable, _digest(when), _digest(left_out), tuple(digests))


def _has_schedule(source: Source) -> bool:
    """Whether a file is a playbook that has a schedule, or has one misspelt. Other tools have files here too."""
    keys = list(source.tree)
    if "schedule" in keys:
        return "steps" in keys or "name" in keys
    is_playbook = "steps" in keys and "name" in keys
    return is_playbook and bool(difflib.get_close_matches("schedule", keys, n=1, cutoff=0.8))


def _looks_like_ours(path: Path) -> bool:
    """Whether a file that is no valid YAML was to be a playbook with a schedule; so is one that can't be read."""
    try:
        keys = set(_KEYS.findall(read_regular(path, MAX_PLAYBOOK)))
    except (OSError, ValueError):
        return True
    return b"schedule" in keys and len(keys) > 1


def _is_playbook(entry: "os.DirEntry[str]") -> bool:
    # A link whose target is away is a playbook that can't be read for now.
    return entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith(".") and not entry.is_dir()


def _calendar_texts(loaded: LoadedPlaybook) -> list[str]:
    schedule = loaded.playbook.schedule
    entries = () if schedule is None else schedule.not_on
    return [each.text for each in entries if isinstance(each, CalendarFile)]


def _calendars(loaded: LoadedPlaybook) -> tuple[Path, ...]:
    return tuple(loaded.file.parent / text for text in _calendar_texts(loaded))


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


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
