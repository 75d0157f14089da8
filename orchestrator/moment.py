"""Moments as text: RFC 3339 in UTC, in microseconds."""

from datetime import UTC, datetime

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """Format a moment; the texts sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def parse_timestamp(text: str) -> datetime:
    """Parse the text of `timestamp`."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def format_clock(moment: datetime, now: datetime | None = None) -> str:
    """Format a moment in UTC for people; with the date unless on the same day as `now`."""
    same_day = now is not None and moment.date() == now.date()
    return f"{moment:%H:%M:%S} UTC" if same_day else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
