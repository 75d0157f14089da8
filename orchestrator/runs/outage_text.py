"""Reasons for a pause of requests, for people: an outage, or a long wait requested by the API."""

from orchestrator.text import safe_text
from orchestrator.times import format_duration


def outage_text(reason: str, next_probe: float, gives_up: float) -> str:
    """Describe an outage of the API as a whole.

    Args:
        reason: the result of the last request.
        next_probe: seconds until the next request to the API.
        gives_up: seconds until the run ends without an answer of the API.
    """
    probe, end = format_duration(max(0, round(next_probe))), format_duration(max(0, round(gives_up)))
    return f"The API is down ({safe_text(reason, 120)}): next probe in {probe}, the run gives up in {end}."


def wait_text(seconds: float) -> str:
    """Describe a wait requested by the API."""
    return f"The API asked to wait (Retry-After): no request goes for {format_duration(max(0, round(seconds)))}."
