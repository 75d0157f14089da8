"""Schedules and stretches of time for tests."""

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
    """The timetable of a playbook called `example`; `calendars` are by their name in `not_on`."""
    calendars: Mapping[str, Calendar] = more.pop("calendars", {})
    schedule = Schedule.model_validate({"cron": cron, "timezone": timezone, **more})
    return Timetable("example", schedule, calendars)


def utc(*parts: int) -> datetime:
    """A moment in UTC."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type] # year, month, day, …


def fired(table: Timetable, start: datetime, end: datetime) -> list[Firing]:
    """What fires."""
    return [each for each in list_firings(table, start, end) if isinstance(each, Firing)]


def left_out(table: Timetable, start: datetime, end: datetime) -> list[LeftOut]:
    """What is left out."""
    return [each for each in list_firings(table, start, end) if isinstance(each, LeftOut)]


def safe_text(found: list[Firing]) -> list[str]:
    """Local times with their offset, and the decision."""
    return [f"{each.local:%m-%d %H:%M%z} {each.decision}" for each in found]
