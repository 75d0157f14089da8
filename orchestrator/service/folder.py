"""Scans of the folder of playbooks: the schedules and the invalid files.

If a file becomes invalid, its last valid version stays in force. The state folder keeps a copy of that version, also
for a restarted service.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.errors import MissingVariableError, OrchestratorError
from orchestrator.playbook.calendars import MAX_BYTES, CalendarReader, DaysOff, compute_digest
from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.load import LoadedPlaybook, load_source
from orchestrator.playbook.schedule import CalendarFile, name_wake
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.shipped import CASES
from orchestrator.playbook.source import Source, find_top_keys, parse_source, read_source
from orchestrator.playbook.timetable import list_freeze_calendars, load_freezes, load_timetable, load_wake_timetable
from orchestrator.state_files import make_folder, read_regular, replace_file
from orchestrator.times import utc_now

ENDS_AFTER = 2
"""A schedule ends after this many scans in a row without the file, or without a schedule in the file."""
_READ_AGAIN = timedelta(minutes=5)
"""Time after which an unchanged invalid file is read again: the cause may be another file."""
_KEYS = frozenset({"schedule", "steps", "name"})
_WAKE = "wake: "
"""Prefix of the calendars of `wake` among the kept calendars."""

_Signature = tuple[tuple[str, int, int, int] | tuple[str], ...]


@dataclass(frozen=True, slots=True)
class ScheduledPlaybook:
    """A valid playbook with a schedule.

    Attributes:
        loaded: the playbook.
        timetable: the timetable of the schedule.
        when: digest of the firing times; a different digest means a different schedule.
        left_out: digest of the days off.
        digests: digests of the calendar files, in the order of `not_on`.
        wake: the starts of the stopped CVMs, as a schedule of its own; None without `wake`.
    """

    loaded: LoadedPlaybook = field(repr=False)
    timetable: Timetable = field(repr=False)
    when: str
    left_out: str
    digests: tuple[str, ...] = ()
    wake: "ScheduledPlaybook | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name of the playbook, or of its wake."""
        return self.timetable.name

    @property
    def file(self) -> str:
        """Path of the playbook's file."""
        return str(self.loaded.file)


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault of a file in the folder.

    Attributes:
        file: path of the file.
        message: the fault and its place.
        hint: advice for the operator.
        keeps: the playbook with a last valid version in force, or `keep.file`; None without a valid version.
        line: the line of the fault; None without a line.
    """

    file: str
    message: str
    hint: str | None = None
    keeps: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Result of a scan of the folder.

    Attributes:
        watched: the playbooks with a schedule, by name.
        faults: the faults of files.
        unsettled: files perhaps gone or without a schedule; the next scan decides.
        files: the files in the folder at the time of the scan.
    """

    watched: Mapping[str, ScheduledPlaybook]
    faults: tuple[Fault, ...] = ()
    unsettled: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()


@dataclass(slots=True)
class _File:
    """State of a file after the last read.

    Attributes:
        signature: times and sizes of the file and its calendars at the last read.
        watched: the last valid version with a schedule.
        fault: the fault of the file; None for a valid file.
        calendars: paths of its calendars.
        read_at: time of the last read.
        scans: number of scans in a row without the file, or without a schedule in the file.
        is_gone: whether the last scan did not find the file.
    """

    signature: _Signature = ()
    watched: ScheduledPlaybook | None = None
    fault: Fault | None = None
    calendars: tuple[Path, ...] = ()
    read_at: datetime | None = None
    scans: int = 0
    is_gone: bool = False


class PlaybookFolder:
    """A folder of playbooks.

    Attributes:
        path: absolute path of the folder.
    """

    def __init__(
        self, path: Path, kept: Path, *, wall: Callable[[], datetime] = utc_now, guards: Guards | None = None
    ) -> None:
        """Set up.

        Args:
            path: path of the folder.
            kept: folder for copies of the last valid versions.
            wall: returns the time of day.
            guards: the guards of the settings.
        """
        self.path = path.absolute()
        self._kept = kept / hashlib.sha256(str(self.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._wall, self._guards = wall, guards
        self._files: dict[Path, _File] = {}
        self._read_calendar = CalendarReader()

    def stop(self) -> None:
        """Stop a scan in another thread."""
        self._read_calendar.stop()

    def scan(self, owners: Mapping[str, str]) -> ScanResult:
        """Scan the folder, and read files changed since the last scan.

        Args:
            owners: file of each known playbook, by playbook name. A second file with the same name does not replace
                the first file.

        Raises:
            OSError: when the folder can't be read.
        """
        with os.scandir(self.path) as entries:
            paths = sorted(self.path / entry.name for entry in entries if _is_playbook(entry))
        owned = {Path(file) for file in owners.values() if Path(file).parent == self.path}
        for path in sorted({*self._files, *owned} - {*paths}):
            self._note_missing(path)
        for path in paths:
            file = self._get_file(path)
            if file.is_gone:
                file.is_gone, file.scans = False, 0
            before = _read_signature((path, *file.calendars))
            if before != file.signature or file.scans or self._is_read_again(file):
                calendars = file.calendars
                self._read_file(path, file, is_owned=path in owned)
                # Taken before the read, so that the next scan sees a change during the read.
                same = calendars == file.calendars
                file.signature = before if same else before[:1] + _read_signature(file.calendars)
        return self._build_result(owners)

    def read_last_valid(self, path: Path) -> ScheduledPlaybook | None:
        """Read the last valid version of a file, kept by this or an earlier service; None without a valid copy."""
        try:
            loaded = load_source(parse_source(self._kept_copy(path).read_bytes(), path), {})
            schedule = loaded.playbook.schedule
            texts = _calendar_texts(loaded)
            if schedule is None:
                return None
            if not self._kept_calendars(path).exists():
                return self._watched(loaded)  # Earlier releases kept no calendars.
            kept = json.loads(self._kept_calendars(path).read_bytes())
            calendars = {text: DaysOff.of(kept[text][2]) for text in texts}
            for text in texts:
                self._read_calendar.remember(kept[text][0], kept[text][1], calendars[text])
            freezes = load_freezes(loaded, self._read_calendar, self._guards)
            timetable = Timetable(loaded.playbook.name, schedule, calendars, freezes)
            wake = build_kept_wake(loaded, {text: kept[_WAKE + text] for text in _wake_texts(loaded)})
            return _watched(loaded, timetable, [kept[text][0] for text in texts], wake)
        except (OrchestratorError, OSError, ValueError, KeyError, TypeError):
            return None

    def _get_file(self, path: Path) -> _File:
        if path not in self._files:
            self._files[path] = _File(watched=self.read_last_valid(path))
        return self._files[path]

    def _note_missing(self, path: Path) -> None:
        """Count a missing file: an editor may be replacing the file just now."""
        file = self._get_file(path)
        file.scans = file.scans + 1 if file.is_gone else 1
        file.is_gone, file.signature = True, ()
        if file.scans >= ENDS_AFTER:
            del self._files[path]
            self._remove_copies(path)

    def _is_read_again(self, file: _File) -> bool:
        if file.fault is None or file.read_at is None:
            return False
        return not timedelta() <= self._wall() - file.read_at < _READ_AGAIN

    def _read_file(self, path: Path, file: _File, *, is_owned: bool) -> None:
        file.read_at = self._wall()
        is_ours = is_owned or file.watched is not None
        try:
            source = read_source(path)
            is_ours = is_ours or _has_schedule(source)
            if not is_ours:
                file.watched, file.fault, file.calendars, file.scans = None, None, (), 0
                return
            # Required variables are allowed only in a playbook without a schedule.
            loaded = load_source(source, {}, allow_undefined="schedule" not in source.tree)
            file.calendars = (*_calendar_paths(loaded), *list_freeze_calendars(loaded, self._guards))
            if loaded.playbook.schedule is None:
                self._note_no_schedule(path, file)
                return
            file.watched, file.fault, file.scans = self._watched(loaded), None, 0
            self._keep_copies(path, file.watched)
        except (OrchestratorError, OSError, ValueError) as error:
            file.scans = 0
            if not is_ours and not _may_have_schedule(path):
                file.fault = None
                return
            keeps = file.watched.name if file.watched is not None else None
            hint = error.hint if isinstance(error, OrchestratorError) else None
            if isinstance(error, MissingVariableError):
                hint = "give the variable a default: a firing can't ask for values"
            line = error.line if isinstance(error, OrchestratorError) else None
            file.fault = Fault(str(path), str(error), hint, keeps, line)

    def _note_no_schedule(self, path: Path, file: _File) -> None:
        """End a schedule after two scans of a valid playbook without a schedule: the file may be half written."""
        file.scans += 1
        file.fault = None
        if file.scans >= ENDS_AFTER:
            file.watched, file.scans = None, 0
            self._remove_copies(path)

    def _watched(self, loaded: LoadedPlaybook) -> ScheduledPlaybook:
        timetable = load_timetable(loaded, self._read_calendar, self._guards)
        assert timetable is not None  # noqa: S101 - it has a schedule
        folder, wake = loaded.file.parent, load_wake_timetable(loaded, self._read_calendar)
        return _watched(
            loaded,
            timetable,
            _read_digests(folder, _calendar_texts(loaded)),
            None if wake is None else _watched(loaded, wake, _read_digests(folder, _wake_texts(loaded))),
        )

    def _build_result(self, owners: Mapping[str, str]) -> ScanResult:
        by_name: dict[str, list[ScheduledPlaybook]] = {}
        for file in self._files.values():
            if file.watched is not None:
                by_name.setdefault(file.watched.name, []).append(file.watched)
        watched = {}
        faults = [file.fault for file in self._files.values() if file.fault is not None]
        for name, found in by_name.items():
            # A renamed file replaces the missing file at the first scan.
            several = [each for each in found if not self._files[Path(each.file)].is_gone] or found
            one = next((each for each in several if each.file == owners.get(name)), None)
            if len(several) == 1:
                one = several[0]
            if one is not None:
                watched[name] = one
            for each in several:
                if each is not one:
                    others = ", ".join(Path(other.file).name for other in several if other is not each)
                    message = f"{each.file}: the name {name!r} is also used in {others}"
                    faults.append(Fault(each.file, message, "playbook names must be unique: rename a playbook"))
        wakes = {one.wake.name: one.wake for one in watched.values() if one.wake is not None}
        for name in {*wakes} & {*watched}:
            message = f"{wakes[name].file}: the name {name!r} of its wake is also used in {watched[name].file}"
            faults.append(Fault(wakes[name].file, message, "rename the other playbook"))
        return ScanResult(
            {**wakes, **watched},
            tuple(faults),
            unsettled=frozenset(str(path) for path, file in self._files.items() if file.scans),
            files=frozenset(str(path) for path, file in self._files.items() if not file.is_gone),
        )

    def _kept_copy(self, path: Path) -> Path:
        return self._kept / f"{path.name}.kept"

    def _kept_calendars(self, path: Path) -> Path:
        return self._kept / f"{path.name}.calendars.json"

    def _keep_copies(self, path: Path, watched: ScheduledPlaybook) -> None:
        """Keep a copy of a playbook and of the days off in its calendars. A failed copy is no error."""
        calendars = list_calendars(watched)
        if watched.wake is not None:
            calendars |= {_WAKE + text: kept for text, kept in list_calendars(watched.wake).items()}
        with suppress(OSError):
            if calendars:
                self._replace_copy(self._kept_calendars(path), json.dumps(calendars).encode())
            self._replace_copy(self._kept_copy(path), watched.loaded.data)

    def _replace_copy(self, copy: Path, data: bytes) -> None:
        if copy.exists() and copy.read_bytes() == data:
            return
        make_folder(self._kept)
        replace_file(copy, data)

    def _remove_copies(self, path: Path) -> None:
        for copy in (self._kept_copy(path), self._kept_calendars(path)):
            copy.unlink(missing_ok=True)


def list_calendars(watched: ScheduledPlaybook) -> dict[str, list[Any]]:
    """List the calendars of a schedule by their text in the playbook: digest, zone and days off."""
    timetable = watched.timetable
    texts = [each.text for each in timetable.schedule.not_on if isinstance(each, CalendarFile)]
    return {
        text: [digest, timetable.schedule.timezone, calendar.document()]
        for text, digest in zip(texts, watched.digests, strict=True)
        if isinstance(calendar := timetable.calendars[text], DaysOff)
    }


def build_kept_wake(loaded: LoadedPlaybook, calendars: Mapping[str, Any]) -> ScheduledPlaybook | None:
    """Build the wake of a playbook from kept calendars in the form of `list_calendars`; None without `wake`."""
    schedule, wake, name = loaded.playbook.schedule, loaded.playbook.wake, loaded.playbook.name
    if schedule is None or wake is None:
        return None
    days_off = {text: DaysOff.of(kept[2]) for text, kept in calendars.items()}
    timetable = Timetable(name_wake(name), wake.as_schedule(schedule), days_off, wakes=name)
    return _watched(loaded, timetable, [calendars[text][0] for text in _wake_texts(loaded)])


def _read_digests(folder: Path, texts: Iterable[str]) -> list[str]:
    return [compute_digest(read_regular(folder / text, MAX_BYTES)) for text in texts]


def _watched(
    loaded: LoadedPlaybook, timetable: Timetable, digests: list[str], wake: ScheduledPlaybook | None = None
) -> ScheduledPlaybook:
    schedule = timetable.schedule
    when = [schedule.cron, schedule.timezone, str(schedule.from_), str(schedule.until)]
    left_out = [[each.text for each in schedule.not_on], digests]
    return ScheduledPlaybook(loaded, timetable, _hash_json(when), _hash_json(left_out), tuple(digests), wake)


def _has_schedule(source: Source) -> bool:
    """Check for a playbook with a schedule, perhaps misspelt. Files of other tools are ignored."""
    keys = list(source.tree)
    if "schedule" in keys:
        return "steps" in keys or "name" in keys
    is_playbook = "steps" in keys and "name" in keys
    return is_playbook and bool(difflib.get_close_matches("schedule", keys, n=1, cutoff=0.8))


def _may_have_schedule(path: Path) -> bool:
    """Check invalid YAML for the keys of a playbook with a schedule; True also for an unreadable file."""
    try:
        keys = find_top_keys(path) & _KEYS
    except (OSError, ValueError):
        return True
    return "schedule" in keys and len(keys) > 1


def _is_playbook(entry: "os.DirEntry[str]") -> bool:
    # A link without its target counts as a playbook, unreadable for now.
    is_yaml = entry.name.endswith((".yaml", ".yml")) and not entry.name.endswith(CASES)
    return is_yaml and not entry.name.startswith(".") and not entry.is_dir()


def _calendar_texts(loaded: LoadedPlaybook) -> list[str]:
    schedule = loaded.playbook.schedule
    entries = () if schedule is None else schedule.not_on
    return [each.text for each in entries if isinstance(each, CalendarFile)]


def _wake_texts(loaded: LoadedPlaybook) -> list[str]:
    entries = () if loaded.playbook.wake is None else loaded.playbook.wake.not_on
    return [each.text for each in entries if isinstance(each, CalendarFile)]


def _calendar_paths(loaded: LoadedPlaybook) -> tuple[Path, ...]:
    return tuple(loaded.file.parent / text for text in (*_calendar_texts(loaded), *_wake_texts(loaded)))


def _read_signature(paths: tuple[Path, ...]) -> _Signature:
    found: list[tuple[str, int, int, int] | tuple[str]] = []
    for path in paths:
        try:
            stat = path.stat()
        except (OSError, ValueError):
            found.append((str(path),))
        else:
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _hash_json(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
