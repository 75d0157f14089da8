"""The value of `--until`."""

from datetime import UTC, datetime, timedelta

from pydantic_core import PydanticCustomError

from orchestrator.errors import UsageError
from orchestrator.playbook.schedule import has_edge_form, last_second, load_zone, parse_edge
from orchestrator.report.plan.schedule import format_local
from orchestrator.times import parse_time_span

_SECOND = timedelta(seconds=1)


def parse_until(text: str, zone: str, now: datetime) -> datetime:
    """Return the moment after a time span, in UTC: after a day, at a time, or after a duration.

    Args:
        text: the value of `--until`.
        zone: the time zone of times without an offset.
        now: the present moment.

    Raises:
        UsageError: when the text has another form, or the moment is in the past.
    """
    try:
        ends = now + timedelta(seconds=parse_time_span(text))
    except ValueError:
        hint = f"write 2026-12-01T08:00 (in {zone}, or with an offset), 2026-12-01 (end of that day), or 8h or 3d"
        if not has_edge_form(text.strip()):
            message = f"--until: must be a date, a time or a duration, not {text[:60]!r}"
            raise UsageError(message, hint=hint) from None
        try:
            edge = parse_edge(text)
        except PydanticCustomError as error:
            raise UsageError(f"--until: {error.message()}", hint=hint) from error
        ends = last_second(edge, load_zone(zone)) + (timedelta() if isinstance(edge, datetime) else _SECOND)
    if ends <= now:
        raise UsageError(
            f"--until: {format_local(ends.astimezone(load_zone(zone)))} is in the past",
            hint=f"times are in {zone}; the time there is {format_local(now.astimezone(load_zone(zone)))}",
        )
    return ends.astimezone(UTC)
