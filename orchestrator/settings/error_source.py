"""Whose fault it is when a setting can't be used: the command line's, a variable's, or a line's of the file."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.errors import SettingsError
from orchestrator.settings.lists import Origin
from orchestrator.validation_messages import Place, dotted, explain, nearest

PREFIX = "ORCHESTRATOR_"
SHORT_NAMES: dict[str, tuple[str, str]] = {
    "ORCHESTRATOR_STATE_DIR": ("audit", "state_dir"),
    "PHALA_CLOUD_API_KEY": ("cloud", "api_key"),
    "PHALA_CLOUD_API_PREFIX": ("cloud", "base_url"),
}
"""The environment variables that have a name of their own, with the setting that each stands for."""

SECRETS = frozenset(
    {("cloud", "api_key"), ("notify", "webhook_url"), ("notify", "webhook_secret"), ("notify", "slack_url")}
)
"""The settings whose values are never shown, and not taken from the command line. Each may come from a `…_file`."""


@dataclass(slots=True)
class Given:
    """What was given, by source.

    Attributes:
        assigned: on the command line, by section.
        tree: in the settings file.
        text: the settings file's own text.
        file: where that is; None when there is none.
        origins: where each entry of a list that adds up over the sources comes from, by the list's place.
    """

    assigned: Mapping[str, Any]
    tree: Mapping[str, Any]
    text: str
    file: Path | None
    origins: Mapping[tuple[str, ...], Sequence[Origin]] = field(default_factory=dict)


def located(fault: ErrorDetails, settings: type[BaseModel], given: Given) -> SettingsError:
    """A fault with where the value came from. A secret's value is never shown."""
    place, source = _source(fault, given)
    place, message, hint = explain({**fault, "loc": place}, settings)
    hint = hint or "config.example.toml lists every setting with its default"
    if any(place[: len(secret)] == secret[: len(place)] for secret in SECRETS):
        message = f"{dotted(place)} can't be used: {fault['msg'].removeprefix('Value error, ')}"
    if place[0] not in settings.model_fields:
        hint = nearest(str(place[0]), settings.model_fields)
    return at(place, message, hint, given, source)


def _source(fault: ErrorDetails, given: Given) -> tuple[Place, int | None]:
    """The place of a fault in its own source, and that source where the place alone does not tell."""
    place = fault["loc"]
    for path, origins in given.origins.items():
        length = len(path)
        if place[:length] == path and len(place) > length and isinstance(index := place[length], int):
            origin = origins[index]
            return (*path, origin.place, *place[length + 1 :]), origin.source
    return place, None


def at(place: Place, message: str, hint: str | None, given: Given, source: int | None = None) -> SettingsError:
    """An error with where the value at a place came from.

    Args:
        place: the setting.
        message: what is wrong.
        hint: what to do about it.
        given: what was given.
        source: the number of the source, by rank (0: the command line, 3: the file); None for the first that has it.
    """
    if source in {None, 0} and _holds(given.assigned, place):
        return SettingsError(f"--set {dotted(place)}: {message}", hint=hint)
    for variable in _variables(place) if source in {None, 1, 2} else ():
        if variable.upper() in {name.upper() for name, value in os.environ.items() if value}:
            return SettingsError(f"environment variable {variable}: {message}", hint=hint)
    if _holds(given.tree, place):
        return SettingsError(message, file=given.file, line=_line(given.text, place), hint=hint)
    return SettingsError(message, hint=hint)


def _holds(tree: Mapping[str, Any], place: Place) -> bool:
    section = tree.get(str(place[0])) if place else None
    return section is not None and (len(place) == 1 or (isinstance(section, Mapping) and place[1] in section))


def _variables(place: Place) -> list[str]:
    """The variables that can hold this place, the nearest first."""
    parts = [part for part in place if isinstance(part, str)]
    long_names = [PREFIX + "__".join(parts[:length]).upper() for length in range(len(parts), 0, -1)]
    return long_names + [name for name, path in SHORT_NAMES.items() if path == place[:2]]


def _line(text: str, place: Place) -> int | None:
    """The line of a key, or of the innermost table or key around it, found by section and name."""
    wanted = [str(part) for part in place]
    best: tuple[int, int | None] = (0, None)
    section: list[str] = []
    for number, row in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", row)
        key = None if header else re.match(r"\s*([\w.\-\"' ]+?)\s*=", row)
        if header:
            path = section = _segments(header.group(1))
        elif key:
            path = [*section, *_segments(key.group(1))]
        else:
            continue
        # A table of its own may begin below the place itself: `[raet.sub]` tells where `raet` is.
        length = min(len(path), len(wanted))
        if path[:length] == wanted[:length] and length > best[0]:
            best = (length, number)
    return best[1]


def _segments(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]
