"""Read the uptime of a CVM: text such as `8d 12h 4s`, or a number of seconds."""

import re

_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([wdhms])[a-z]*", re.ASCII)
_SEPARATOR = re.compile(r"[\s,]*")
_LONGEST_TEXT = 100
_LONGEST = 100 * 365 * 86400.0
"""Seconds; a longer uptime is an error of the server."""


def read_uptime(value: object) -> float | None:
    """Return seconds; None for a missing or unreadable uptime."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value <= _LONGEST else None
    seconds = _parse_text(value.strip().lower()) if isinstance(value, str) and len(value) <= _LONGEST_TEXT else None
    return seconds if seconds is not None and seconds <= _LONGEST else None


def _parse_text(text: str) -> float | None:
    if not text or _SEPARATOR.fullmatch(_PART.sub("", text)) is None:
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
