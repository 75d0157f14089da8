"""Load a playbook's timetable: the schedule with its calendars."""

from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

from orchestrator.errors import PlaybookError
from orchestrator.playbook.calendars import read_calendar
from orchestrator.playbook.firings import Calendar, Timetable
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schedule import CalendarFile, load_zone
from orchestrator.playbook.source import parse_source


def load_timetable(
    loaded: LoadedPlaybook, read: Callable[[Path, ZoneInfo], Calendar] = read_calendar
) -> Timetable | None:
    """Read the calendars of a playbook's schedule.

    A run does not need the calendars: a broken calendar never blocks a run started by a person.

    Args:
        loaded: the playbook.
        read: reads a calendar, given its path and the zone of events without their own zone.

    Returns:
        The timetable; None for a playbook without a schedule.

    Raises:
        PlaybookError: when a calendar is missing or unusable, with playbook, line and key.
    """
    schedule = loaded.playbook.schedule
    if schedule is None:
        return None
    zone = load_zone(schedule.timezone)
    calendars = {}
    for number, entry in enumerate(schedule.not_on):
        if isinstance(entry, CalendarFile):
            try:
                calendars[entry.text] = read(loaded.file.parent / entry.text, zone)
            except PlaybookError as error:
                line = parse_source(loaded.data, loaded.file).line_of(("schedule", "not_on", number))
                hint = error.hint or "the path is relative to the playbook's folder"
                message = f"schedule.not_on[{number}]: {error.message}"
                raise PlaybookError(message, hint=hint, file=loaded.file, line=line) from error
    return Timetable(loaded.playbook.name, schedule, calendars)
