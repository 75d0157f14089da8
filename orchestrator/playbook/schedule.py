"""When a playbook is to run, as people write it: the part `schedule` of the schema. `firings` says what it comes to.

The cron library and the time zones are loaded only where a schedule is read: most playbooks have none.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.documented_model import DocumentedModel
from orchestrator.duration import Duration
from orchestrator.validation_messages import nearest

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FIRST_YEAR, LAST_YEAR = 2000, 2199
"""Zones are known well enough between them, and every search for a firing ends."""

_DATE = r"\d{4}-\d{2}-\d{2}"
_TIME = re.compile(rf"{_DATE}(?:[T ]\d{{2}}:\d{{2}}(?::\d{{2}})?(?:Z|[+-]\d{{2}}:\d{{2}})?)?", re.ASCII)
_DAYS = re.compile(rf"({_DATE})(?:\s*\.\.\s*({_DATE}))?", re.ASCII)
_FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, or L for the last",
    "month": "1 to 12, or JAN to DEC",
    "day-of-week": "0 to 7, or SUN to SAT; 0 and 7 are Sunday",
}
_FIVE = "five fields: minute hour day-of-month month day-of-week, such as `30 2 * * *` or `*/15 8-18 * * MON-FRI`"
_LONGEST = 200


def _raise_error(says: str, hint: str) -> NoReturn:
    raise PydanticCustomError("schedule", "{says}", {"says": says, "hint": hint})


def _parse_cron(value: object) -> str:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most playbooks have no schedule

    text = " ".join(value.split()) if isinstance(value, str) else ""
    given = str(value)[:60]
    if not text or text.startswith("@") or len(text) > _LONGEST or len(text.split()) != len(_FIELDS):
        _raise_error(f"must be a cron expression, not {given!r}", _FIVE)
    try:
        ever = next(CronSim(text, datetime(FIRST_YEAR, 1, 1)), None)  # noqa: DTZ001 - what a wall clock shows
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        _raise_error(f"the cron expression {given!r} has a bad {field}", f"{field} takes {_FIELDS.get(field, _FIVE)}")
    if ever is None:
        _raise_error(f"the cron expression {given!r} never fires", "no month has such a day")
    return text


def _parse_timezone(value: object) -> str:
    name = value if isinstance(value, str) else ""
    try:
        if not name.startswith(("posix", "right/", "localtime")):
            load_zone(name)
            return name
    except (KeyError, ValueError, OSError):
        pass
    from zoneinfo import available_timezones  # noqa: PLC0415 - only on this error

    known = available_timezones()
    alike = [each for each in known if each.lower() == name.lower()]
    # All 600 names would be no help.
    otherwise = "take a name such as Europe/Berlin, America/New_York or UTC"
    _raise_error(f"there is no time zone {str(value)[:60]!r}", nearest(name, alike or known, otherwise))


def _parse_day(text: str, given: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        _raise_error(f"there is no such day: {given!r}", "a date is written YYYY-MM-DD, such as 2027-12-24")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        _raise_error(f"the year of {given!r} is not between {FIRST_YEAR} and {LAST_YEAR}", "check the year")
    return day


def parse_edge(value: object) -> date | datetime:
    """Where a stretch of time begins or ends: a day, or a time; without an offset, as clocks there show it.

    Raises:
        PydanticCustomError: when it is neither; its context has a `hint`.
    """
    text = str(value).strip()
    if not _TIME.fullmatch(text):
        hint = "write 2027-12-24, 2027-12-24T18:00, or with an offset 2027-12-24T18:00+01:00"
        _raise_error(f"must be a date or a time, not {text[:60]!r}", hint)
    day = _parse_day(text[:10], text)
    if len(text) == len("2027-12-24"):
        return day
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        _raise_error(f"there is no such time: {text!r}", "a time is written YYYY-MM-DDThh:mm, such as 2027-12-24T18:00")


@dataclass(frozen=True, slots=True)
class Days:
    """Some days in a row, both ends among them.

    Attributes:
        first: the first day.
        last: the last day.
        text: as it is written in the playbook.
    """

    first: date
    last: date
    text: str


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar whose events are left out.

    Attributes:
        text: its path as it is written in the playbook, from the playbook's own folder.
    """

    text: str


def _parse_omission(value: object) -> Days | CalendarFile:
    text = value.strip() if isinstance(value, str) else str(value)
    if text.lower().endswith(".ics") and "\0" not in text:
        return CalendarFile(text)
    match = _DAYS.fullmatch(text)
    if not match:
        hint = "write 2027-12-24, 2027-12-24..2028-01-02, or the path of an .ics file"
        _raise_error(f"must be a date, a range of dates or an .ics file, not {text[:60]!r}", hint)
    first = _parse_day(match[1], text)
    last = _parse_day(match[2], text) if match[2] else first
    if last < first:
        _raise_error(f"the range {text!r} ends before it begins", "the earlier date stands first")
    return Days(first, last, text)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_TEXT = {"type": "string", "minLength": 1}
_EDGE = WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}|\$\{[^{}]+\}"})
_ONE_OR_MORE = WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]})

Edge = Annotated[date | datetime, PlainValidator(parse_edge), _EDGE]
"""A day or a time."""

LeftOutOn = Annotated[list[Annotated[Days | CalendarFile, PlainValidator(_parse_omission)]], BeforeValidator(_as_list)]
"""One or several of: a day, a range of days, an .ics file."""


class Schedule(DocumentedModel):
    """When the playbook is to run. `serve` or your own scheduler starts the runs; `schedule explain` says when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cron: Annotated[str, PlainValidator(_parse_cron), WithJsonSchema(_TEXT)]
    """Five fields as in Debian's cron: minute, hour, day of month, month, day of week."""
    timezone: Annotated[str, PlainValidator(_parse_timezone), WithJsonSchema(_TEXT)]
    """Whose clocks `cron`, `not_on`, `from` and `until` go by, such as `Europe/Berlin` or `UTC`."""
    jitter: Duration = 0.0
    """Each firing happens up to this much later, by an amount of its own that stays the same."""
    not_on: Annotated[LeftOutOn, _ONE_OR_MORE] = []  # noqa: RUF012 - pydantic copies it
    """What is left out: dates, ranges such as `2027-12-24..2028-01-02`, and .ics files beside the playbook."""
    from_: Edge | None = Field(default=None, alias="from")
    """Nothing fires before this day or time."""
    until: Edge | None = None
    """Nothing fires after this day or time; a day counts to its end."""
    on_missed: Literal["run_once", "skip"] = "skip"
    """What becomes of firings at which nobody was there to start them: one run for all of them, or none."""
    on_overlap: Literal["skip", "queue"] = "skip"
    """What becomes of a firing while the run before it goes on: none, or it waits."""

    @field_validator("until")
    @classmethod
    def _check_until(cls, until: date | datetime | None, info: ValidationInfo) -> date | datetime | None:
        begins, name = info.data.get("from_"), info.data.get("timezone")
        if until is not None and begins is not None and name is not None:
            zone = load_zone(name)
            if last_second(until, zone) < first_second(begins, zone):
                _raise_error(f"{until} is before `from`, which is {begins}", "swap the two, or leave one of them out")
        return until


def load_zone(name: str) -> "ZoneInfo":
    """The time zone of this name."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most playbooks have no schedule

    return ZoneInfo(name)


def first_second(edge: date | datetime, zone: "ZoneInfo") -> datetime:
    """The moment from which on it is this day or time there, in UTC."""
    from orchestrator.playbook.walltime import locate_wall_time  # noqa: PLC0415 - most playbooks have no schedule

    if isinstance(edge, datetime):
        return locate_wall_time(edge, zone).moment if edge.tzinfo is None else edge.astimezone(UTC)
    return locate_wall_time(datetime(edge.year, edge.month, edge.day), zone).moment  # noqa: DTZ001 - what a wall clock shows


def last_second(edge: date | datetime, zone: "ZoneInfo") -> datetime:
    """The last moment of this day, or this time itself, in UTC."""
    if isinstance(edge, datetime):
        return first_second(edge, zone)
    return first_second(edge + timedelta(days=1), zone) - timedelta(seconds=1)
