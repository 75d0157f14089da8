"""Schedules and periods for tests."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.playbook.firings import Calendar, Firing, LeftOut, Timetable, list_firings
from orchestrator.playbook.schedule import Schedule

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Havana",
    "America/Nuuk",
    "UTC",
)
"""With daylight saving and without, by half an hour, around midnight, and for the length of Ramadan."""


def timetable(cron: str, timezone: str = "Europe/Berlin", /, **more: Any) -> Timetable:  # noqa: ANN401 - keys of all kinds
    """Make the timetable of a playbook called `example`; `calendars` have their names in `not_on`."""
    calendars: Mapping[str, Calendar] = more.pop("calendars", {})
    schedule = Schedule.model_validate({"cron": cron, "timezone": timezone, **more})
    return Timetable("example", schedule, calendars)


def utc(*parts: int) -> datetime:
    """Make a moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type] # year, month, day, …


def fired(table: Timetable, start: datetime, end: datetime) -> list[Firing]:
    """List the firings."""
    return [each for each in list_firings(table, start, end) if isinstance(each, Firing)]


def left_out(table: Timetable, start: datetime, end: datetime) -> list[LeftOut]:
    """List the skipped firings."""
    return [each for each in list_firings(table, start, end) if isinstance(each, LeftOut)]


def format_times(found: list[Firing]) -> list[str]:
    """Format local times with their offset, and the clock case."""
    return [f"{each.local:%m-%d %H:%M%z} {each.decision}" for each in found]
