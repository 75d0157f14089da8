"""Time ranges on the command line: `30d` back from now, a date, or a time. Pure.

A date or a time without an offset is UTC, as in the logs and in the names of runs.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from orchestrator.errors import UsageError
from orchestrator.playbook.schedule import first_second, has_edge_form, last_second, parse_edge
from orchestrator.times import parse_duration

_BACK = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+", re.ASCII)
_TAKES = "write a duration (30d, 12h: back from now), a date (2027-12-24), or a time (2027-12-24T18:00Z)"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time.

    Attributes:
        since: the first moment, in UTC; None without a start.
        until: the first moment after the range, in UTC; None without an end.
    """

    since: datetime | None = None
    until: datetime | None = None

    def __contains__(self, moment: datetime) -> bool:
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


def parse_time_range(since: str | None, until: str | None, now: datetime) -> TimeRange:
    """Parse `--since` and `--until`.

    Args:
        since: the first moment; a date from its beginning.
        until: the last moment; a date until its end.
        now: the time of day, the base of durations.

    Raises:
        UsageError: when a value is invalid, or the range is empty.
    """
    begin = None if since is None else _parse_moment(since, "--since", now)
    end = None if until is None else _parse_moment(until, "--until", now, last=True)
    if begin is not None and (begin >= end if end is not None else begin > now):
        after = "now" if end is None else f"--until ({end:%Y-%m-%d %H:%M}Z)"
        raise UsageError(f"--since is {begin:%Y-%m-%d %H:%M}Z, not before {after}", hint=_TAKES)
    return TimeRange(begin, end)


def _parse_moment(text: str, option: str, now: datetime, *, last: bool = False) -> datetime:
    text = text.strip()
    if _BACK.fullmatch(text):
        try:
            return now - timedelta(seconds=parse_duration(text))
        except ValueError as error:
            raise UsageError(f"{option}: {text[:40]!r} is not a duration up to ten years", hint=_TAKES) from error
    if not has_edge_form(text):
        raise UsageError(f"{option}: {text[:40]!r} is not a duration, a date or a time", hint=_TAKES)
    zone = ZoneInfo("UTC")
    try:
        edge = parse_edge(text)
    except PydanticCustomError as error:
        raise UsageError(f"{option}: {error.message()}", hint=_TAKES) from error
    if not last or isinstance(edge, datetime):
        return first_second(edge, zone).astimezone(UTC)
    return last_second(edge, zone).astimezone(UTC) + timedelta(seconds=1)
