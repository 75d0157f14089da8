"""What keeps a run from asking the API, for people: an outage, or a long wait that the API asked for."""

from orchestrator.duration import format_duration
from orchestrator.safe_text import safe_text


def outage_text(reason: str, next_probe: float, gives_up: float) -> str:
    """The API as a whole is down.

    Args:
        reason: what the last request came to.
        next_probe: seconds until the API is asked again.
        gives_up: seconds until the run ends if the API does not answer.
    """
    probe, end = format_duration(max(0, round(next_probe))), format_duration(max(0, round(gives_up)))
    return f"The API is down ({safe_text(reason, 120)}): next probe in {probe}, the run gives up in {end}."


def wait_text(seconds: float) -> str:
    """The API asked the run to wait."""
    return f"The API asked to wait (Retry-After): no request goes for {format_duration(max(0, round(seconds)))}."
