"""Load a playbook's timetable: the schedule with its calendars."""

from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestrator.action import Action
from orchestrator.errors import PlaybookError
from orchestrator.playbook.calendars import DaysOff, read_calendar
from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.freeze import GUARDS, Freeze
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schedule import CalendarFile, Schedule, load_zone, name_wake
from orchestrator.playbook.schema import Guards
from orchestrator.playbook.source import parse_source


def load_timetable(
    loaded: LoadedPlaybook, read: Callable[[Path, ZoneInfo], DaysOff] = read_calendar, guards: Guards | None = None
) -> Timetable | None:
    """Read the calendars of a playbook's schedule.

    A run does not need the calendars: a broken calendar never blocks a run started by a person.

    Args:
        loaded: the playbook.
        read: reads a calendar, given its path and the zone of events without their own zone.
        guards: the guards of the settings.

    Returns:
        The timetable; None for a playbook without a schedule.

    Raises:
        PlaybookError: when a calendar is missing or unusable, with playbook, line and key.
    """
    schedule = loaded.playbook.schedule
    if schedule is None:
        return None
    calendars = _read_calendars(loaded, "schedule", schedule, read)
    return Timetable(loaded.playbook.name, schedule, calendars, load_freezes(loaded, read, guards))


def load_wake_timetable(
    loaded: LoadedPlaybook, read: Callable[[Path, ZoneInfo], DaysOff] = read_calendar
) -> Timetable | None:
    """Read the calendars of a playbook's `wake`; None without `wake`. Args and errors as in `load_timetable`."""
    schedule, wake = loaded.playbook.schedule, loaded.playbook.wake
    if schedule is None or wake is None:
        return None
    times = wake.as_schedule(schedule)
    calendars = _read_calendars(loaded, "wake", times, read)
    return Timetable(name_wake(loaded.playbook.name), times, calendars, wakes=loaded.playbook.name)


def _read_calendars(
    loaded: LoadedPlaybook, section: str, schedule: Schedule, read: Callable[[Path, ZoneInfo], DaysOff]
) -> dict[str, DaysOff]:
    """Read the calendars of `not_on` in a section of the playbook."""
    zone, calendars = load_zone(schedule.timezone), {}
    for number, entry in enumerate(schedule.not_on):
        if isinstance(entry, CalendarFile):
            try:
                calendars[entry.text] = read(loaded.file.parent / entry.text, zone)
            except PlaybookError as error:
                line = parse_source(loaded.data, loaded.file).line_of((section, "not_on", number))
                hint = error.hint or "the path is relative to the playbook's folder"
                message = f"{section}.not_on[{number}]: {error.message}"
                raise PlaybookError(message, hint=hint, file=loaded.file, line=line) from error
    return calendars


def load_freezes(
    loaded: LoadedPlaybook, read: Callable[[Path, ZoneInfo], DaysOff], guards: Guards | None = None
) -> tuple[Freeze, ...]:
    """Read the freezes for a playbook; none if a step starts CVMs, because the plan of the run decides then.

    Args and errors as in `load_timetable`.
    """
    if any(Action(step.action).starts_cvms for step in loaded.playbook.acting_steps):
        return ()
    found = []
    for where, each, folder in (("", loaded.playbook.guards, loaded.file.parent), (_IN_SETTINGS, guards, Path())):
        for guard in GUARDS:
            for times in (each and getattr(each, guard)) or ():
                try:
                    calendars = {
                        entry.text: read(folder / entry.text, load_zone(times.timezone))
                        for entry in times.on
                        if isinstance(entry, CalendarFile)
                    }
                except PlaybookError as error:
                    message = f"guards.{guard}{where}: {error.message}"
                    raise PlaybookError(message, hint=error.hint, file=loaded.file) from error
                found.append(Freeze(guard, times, calendars))
    return tuple(found)


def list_freeze_calendars(loaded: LoadedPlaybook, guards: Guards | None = None) -> Iterator[Path]:
    """Yield the paths of all calendars of freezes."""
    for each, folder in ((loaded.playbook.guards, loaded.file.parent), (guards, Path())):
        for guard in GUARDS:
            for times in (each and getattr(each, guard)) or ():
                yield from (folder / entry.text for entry in times.on if isinstance(entry, CalendarFile))


_IN_SETTINGS = " of the settings"
