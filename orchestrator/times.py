"""Moments and durations, and their texts: RFC 3339 in UTC, and `40s`, `10m`, `1h30m`."""

import re
import time
from datetime import UTC, datetime

LONGEST = 10 * 365 * 86400.0
"""Seconds: ten years, so that arithmetic with dates stays possible."""

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TEXT = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_BARE_NUMBER = re.compile(r"[+-]?[\d.,_]+")


def parse_duration(value: object) -> float:
    """Parse a duration; return seconds.

    Args:
        value: a number of seconds, or text such as `40s`, `10m`, `1h30m`, `2d`, or `40`.

    Raises:
        ValueError: when the value has another form, is negative, not finite, or longer than ten years.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(min(value, LONGEST + 1))
    else:
        text = str(value).strip()
        match = _TEXT.fullmatch(text)
        if _NUMBER.fullmatch(text):
            seconds = float(text)
        elif match and text:
            parts = zip(match.groups(), _UNITS.values(), strict=True)
            seconds = sum(float(number) * unit for number, unit in parts if number)
        else:
            raise ValueError(f"{text!r} is not a duration; write seconds, or text such as 40s, 10m or 1h30m")
    if seconds > LONGEST:
        raise ValueError("is longer than ten years")
    if not seconds >= 0:
        raise ValueError(f"{value!r} is not a duration of zero or more seconds")
    return seconds


def parse_time_span(text: str) -> float:
    """Parse a duration on the command line, in options that also take days and times; return seconds.

    Raises:
        ValueError: when the text is no duration, or a number without a unit: `20261201` is meant as a day.
    """
    if _BARE_NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text.strip()[:40]!r} is a number without a unit")
    return parse_duration(text)


def format_duration(seconds: float) -> str:
    """Format a duration: `0.4s`, `40s`, `10m`, `1h30m`."""
    if seconds < 10:  # noqa: PLR2004 - below ten seconds a tenth is worth showing
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    rest = round(seconds)
    text = ""
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Format a moment; the texts sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_timestamp(text: str) -> datetime:
    """Parse the text of `timestamp`."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def parse_rfc3339(text: str) -> datetime:
    """Parse a time with an offset, such as `2026-11-26T18:00:00Z`; return the moment in UTC.

    Raises:
        ValueError: when the text has another form, or no offset.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"must be a time with an offset, such as 2026-11-26T18:00:00Z, not {text[:60]!r}")


def format_clock(moment: datetime, now: datetime | None = None) -> str:
    """Format a moment in UTC for people; with the date unless on the same day as `now`."""
    same_day = now is not None and moment.date() == now.date()
    return f"{moment:%H:%M:%S} UTC" if same_day else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def boot_seconds() -> float:
    """Seconds since the boot of this machine, sleep included; the same for all processes."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
