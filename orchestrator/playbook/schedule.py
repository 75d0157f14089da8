"""The `schedule` section of a playbook. `firings` computes the times.

The cron library and the time zones load only for a playbook with a schedule: most playbooks have no schedule.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from orchestrator.documented_model import DocumentedModel
from orchestrator.playbook.value_types import Duration, StrictBool
from orchestrator.validation_messages import suggest_nearest

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FIRST_YEAR, LAST_YEAR = 2000, 2199
"""Years with reliable rules of time zones; the last year also ends every search for a firing."""

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


def raise_schedule_error(says: str, hint: str) -> NoReturn:
    """Raise an error of a validator, with a hint."""
    raise PydanticCustomError("schedule", "{says}", {"says": says, "hint": hint})


def _parse_cron(value: object) -> str:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - most playbooks have no schedule

    text = " ".join(value.split()) if isinstance(value, str) else ""
    given = str(value)[:60]
    if not text or text.startswith("@") or len(text) > _LONGEST or len(text.split()) != len(_FIELDS):
        raise_schedule_error(f"must be a cron expression, not {given!r}", _FIVE)
    try:
        ever = next(CronSim(text, datetime(FIRST_YEAR, 1, 1)), None)  # noqa: DTZ001 - what a wall clock shows
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise_schedule_error(
            f"the cron expression {given!r} has a bad {field}", f"{field} takes {_FIELDS.get(field, _FIVE)}"
        )
    if ever is None:
        raise_schedule_error(f"the cron expression {given!r} never fires", "no month has this day")
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
    # A list of all 600 names would not help.
    otherwise = "use a name such as Europe/Berlin, America/New_York or UTC"
    raise_schedule_error(f"there is no time zone {str(value)[:60]!r}", suggest_nearest(name, alike or known, otherwise))


_EDGE_FORMS = "write YYYY-MM-DD or YYYY-MM-DDThh:mm, such as 2027-12-24T18:00; an offset may follow: +01:00"


def _parse_day(text: str, given: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise_schedule_error(f"there is no such day: {given!r} ({error})", _EDGE_FORMS)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise_schedule_error(f"the year of {given!r} is not between {FIRST_YEAR} and {LAST_YEAR}", "check the year")
    return day


def has_edge_form(text: str) -> bool:
    """Check for the form of a date or a time; the date need not exist."""
    return _TIME.fullmatch(text) is not None


def parse_edge(value: object) -> date | datetime:
    """Parse the start or end of a time range: a day or a time. A time without an offset is local time of the schedule.

    Raises:
        PydanticCustomError: when the value has another form; the error's context has a `hint`.
    """
    text = str(value).strip()
    if not has_edge_form(text):
        raise_schedule_error(f"must be a date or a time, not {text[:60]!r}", _EDGE_FORMS)
    day = _parse_day(text[:10], text)
    if len(text) == len("2027-12-24"):
        return day
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise_schedule_error(f"there is no such time: {text!r} ({error})", _EDGE_FORMS)


@dataclass(frozen=True, slots=True)
class Days:
    """A range of days, including both ends.

    Attributes:
        first: the first day.
        last: the last day.
        text: the text in the playbook.
    """

    first: date
    last: date
    text: str


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar of events without firings.

    Attributes:
        text: the calendar's path in the playbook, relative to the playbook's folder.
    """

    text: str


def parse_days_or_calendar(value: object) -> Days | CalendarFile:
    """Parse a date, a range of dates, or the path of an .ics file.

    Raises:
        PydanticCustomError: when the value has another form; the error's context has a `hint`.
    """
    text = value.strip() if isinstance(value, str) else str(value)
    if text.lower().endswith(".ics") and "\0" not in text:
        return CalendarFile(text)
    match = _DAYS.fullmatch(text)
    if not match:
        hint = "write 2027-12-24, 2027-12-24..2028-01-02, or the path of an .ics file"
        raise_schedule_error(f"must be a date, a range of dates or an .ics file, not {text[:60]!r}", hint)
    first = _parse_day(match[1], text)
    last = _parse_day(match[2], text) if match[2] else first
    if last < first:
        raise_schedule_error(f"the range {text!r} ends before its start", "put the earlier date first")
    return Days(first, last, text)


def wrap_text(value: object) -> object:
    """Wrap a single text in a list."""
    return [value] if isinstance(value, str) else value


_TEXT = {"type": "string", "minLength": 1}
_EDGE = WithJsonSchema({"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}|\$\{[^{}]+\}"})
ONE_OR_MORE = WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]})

TimeZone = Annotated[str, PlainValidator(_parse_timezone), WithJsonSchema(_TEXT)]
"""The name of a time zone."""

Edge = Annotated[date | datetime, PlainValidator(parse_edge), _EDGE]
"""A day or a time."""

LeftOutOn = Annotated[
    list[Annotated[Days | CalendarFile, PlainValidator(parse_days_or_calendar)]], BeforeValidator(wrap_text)
]
"""One or several of: a day, a range of days, an .ics file."""


class Schedule(DocumentedModel):
    """Times of automatic runs. `serve` or your own scheduler starts the runs; `schedule explain` lists the times."""

    cron: Annotated[str, PlainValidator(_parse_cron), WithJsonSchema(_TEXT)]
    """Five fields as in Debian's cron: minute, hour, day of month, month, day of week."""
    timezone: TimeZone
    """Time zone of `cron`, `not_on`, `from` and `until`, such as `Europe/Berlin` or `UTC`."""
    jitter: Duration = 0.0
    """The longest delay of a firing. Every firing has its own fixed delay up to this time."""
    not_on: Annotated[LeftOutOn, ONE_OR_MORE] = []  # noqa: RUF012 - pydantic copies it
    """Days without firings: dates, ranges such as `2027-12-24..2028-01-02`, and .ics files beside the playbook."""
    from_: Edge | None = Field(default=None, alias="from")
    """The first day or time with firings."""
    until: Edge | None = None
    """The last day or time with firings; a day counts until its end."""
    on_missed: Literal["run_once", "skip"] = "skip"
    """After missed firings (the service was down): start one run for all missed firings (`run_once`), or no run
    (`skip`).
    """
    on_overlap: Literal["skip", "queue"] = "skip"
    """For a firing during the previous run: skip the firing (`skip`), or start after the previous run (`queue`)."""

    @field_validator("until")
    @classmethod
    def _check_until(cls, until: date | datetime | None, info: ValidationInfo) -> date | datetime | None:
        begins, name = info.data.get("from_"), info.data.get("timezone")
        if until is not None and begins is not None and name is not None:
            zone = load_zone(name)
            if last_second(until, zone) < first_second(begins, zone):
                raise_schedule_error(
                    f"{until} is before `from` ({begins})", "swap `from` and `until`, or remove one of the two"
                )
        return until


class Wake(DocumentedModel):
    """Times of automatic starts: only of CVMs that the playbook stopped, and that nobody touched since."""

    cron: Annotated[str, PlainValidator(_parse_cron), WithJsonSchema(_TEXT)]
    """Five fields, as in `schedule.cron`."""
    timezone: TimeZone | None = None
    """Time zone of `cron` and `not_on`; default: the time zone of `schedule`."""
    not_on: Annotated[LeftOutOn, ONE_OR_MORE] = []  # noqa: RUF012 - pydantic copies it
    """Days without starts, as in `schedule.not_on`. The days of `schedule.not_on` do not count here."""
    include_gpus: StrictBool = False
    """Start CVMs with GPUs too: each start is charged a new 24-hour minimum."""

    def as_schedule(self, schedule: Schedule) -> Schedule:
        """Return the times of the starts as a schedule, beside the schedule of the stops."""
        return Schedule.model_construct(
            cron=self.cron,
            timezone=self.timezone or schedule.timezone,
            not_on=self.not_on,
            on_missed="run_once",
            on_overlap="queue",
        )


def name_wake(playbook: str) -> str:
    """Return the name of the starts of a playbook: in the journal of the service, and of their runs."""
    return f"{playbook} (wake)"


def load_zone(name: str) -> "ZoneInfo":
    """Load the time zone with this name."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - most playbooks have no schedule

    return ZoneInfo(name)


def first_second(edge: date | datetime, zone: "ZoneInfo") -> datetime:
    """Compute the first moment of a day, or the moment of a time, in UTC."""
    from orchestrator.playbook.local_time import resolve_local_time  # noqa: PLC0415 - most playbooks have no schedule

    if isinstance(edge, datetime):
        return resolve_local_time(edge, zone).moment if edge.tzinfo is None else edge.astimezone(UTC)
    return resolve_local_time(datetime(edge.year, edge.month, edge.day), zone).moment  # noqa: DTZ001 - what a wall clock shows


def last_second(edge: date | datetime, zone: "ZoneInfo") -> datetime:
    """Compute the last moment of a day, or the moment of a time, in UTC."""
    if isinstance(edge, datetime):
        return first_second(edge, zone)
    return first_second(edge + timedelta(days=1), zone) - timedelta(seconds=1)
