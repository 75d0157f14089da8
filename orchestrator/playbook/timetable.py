"""From a playbook to its timetable: the schedule with the calendars that it names."""

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
    """Read the calendars that a playbook's schedule names.

    A run does not need them: a calendar that is broken holds up no stop that somebody starts.

    Args:
        loaded: the playbook.
        read: reads a calendar; given its path, and the zone of events that name none.

    Returns:
        The timetable; None where the playbook has no schedule.

    Raises:
        PlaybookError: when a calendar is missing or can't be used; it names the playbook, the line and the key.
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
                hint = error.hint or "its path is taken from the playbook's own folder"
                message = f"schedule.not_on[{number}]: {error.message}"
                raise PlaybookError(message, hint=hint, file=loaded.file, line=line) from error
    return Timetable(loaded.playbook.name, schedule, calendars)
