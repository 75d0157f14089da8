"""Find the source of an invalid setting: the command line, an environment variable, or a line of the file."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.errors import SettingsError
from orchestrator.settings.sources import Origin
from orchestrator.validation_messages import Place, explain_fault, format_path, suggest_nearest

PREFIX = "ORCHESTRATOR_"
SHORT_NAMES: dict[str, tuple[str, str]] = {
    "ORCHESTRATOR_STATE_DIR": ("audit", "state_dir"),
    "PHALA_CLOUD_API_KEY": ("cloud", "api_key"),
    "PHALA_CLOUD_API_PREFIX": ("cloud", "base_url"),
}
"""Environment variables with short names, and their settings."""

SECRETS = frozenset(
    {("cloud", "api_key"), ("notify", "webhook_url"), ("notify", "webhook_secret"), ("notify", "slack_url")}
)
"""Settings with secret values: never shown, never taken from the command line. Each may come from a `…_file`."""


@dataclass(slots=True)
class Given:
    """The given values, by source.

    Attributes:
        assigned: values of the command line, by section.
        tree: values of the settings file.
        text: text of the settings file.
        file: path of the settings file; None without a file.
        origins: the source of every entry of a merged list, by the list's path.
    """

    assigned: Mapping[str, Any]
    tree: Mapping[str, Any]
    text: str
    file: Path | None
    origins: Mapping[tuple[str, ...], Sequence[Origin]] = field(default_factory=dict)


def locate_fault(fault: ErrorDetails, settings: type[BaseModel], given: Given) -> SettingsError:
    """Return the error of a fault, with the source of the value. The value of a secret is never shown."""
    place, source = _find_source(fault, given)
    place, message, hint = explain_fault({**fault, "loc": place}, settings)
    hint = hint or "config.example.toml lists every setting with its default"
    if any(place[: len(secret)] == secret[: len(place)] for secret in SECRETS):
        message = f"{format_path(place)} can't be used: {fault['msg'].removeprefix('Value error, ')}"
    if place[0] not in settings.model_fields:
        hint = suggest_nearest(str(place[0]), settings.model_fields)
    return error_at(place, message, hint, given, source)


def _find_source(fault: ErrorDetails, given: Given) -> tuple[Place, int | None]:
    """Return the path of a fault in its own source; also the source, if the path alone is ambiguous."""
    place = fault["loc"]
    for path, origins in given.origins.items():
        length = len(path)
        if place[:length] == path and len(place) > length and isinstance(index := place[length], int):
            origin = origins[index]
            return (*path, origin.place, *place[length + 1 :]), origin.source
    return place, None


def error_at(place: Place, message: str, hint: str | None, given: Given, source: int | None = None) -> SettingsError:
    """Return an error with the source of the value at a path.

    Args:
        place: the path of the setting.
        message: the error.
        hint: the remedy.
        given: the given values.
        source: the rank of the source (0: the command line, 3: the file); None for the first source with the path.
    """
    if source in {None, 0} and _has_value(given.assigned, place):
        return SettingsError(f"--set {format_path(place)}: {message}", hint=hint)
    for variable in _list_variables(place) if source in {None, 1, 2} else ():
        if variable.upper() in {name.upper() for name, value in os.environ.items() if value}:
            return SettingsError(f"environment variable {variable}: {message}", hint=hint)
    if _has_value(given.tree, place):
        return SettingsError(message, file=given.file, line=_find_line(given.text, place), hint=hint)
    return SettingsError(message, hint=hint)


def _has_value(tree: Mapping[str, Any], place: Place) -> bool:
    section = tree.get(str(place[0])) if place else None
    return section is not None and (len(place) == 1 or (isinstance(section, Mapping) and place[1] in section))


def _list_variables(place: Place) -> list[str]:
    """List the environment variables for this path, the most specific first."""
    parts = [part for part in place if isinstance(part, str)]
    long_names = [PREFIX + "__".join(parts[:length]).upper() for length in range(len(parts), 0, -1)]
    return long_names + [name for name, path in SHORT_NAMES.items() if path == place[:2]]


def _find_line(text: str, place: Place) -> int | None:
    """Return the line of a key, or of the innermost table or key around it, found by section and name."""
    wanted = [str(part) for part in place]
    best: tuple[int, int | None] = (0, None)
    section: list[str] = []
    for number, row in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", row)
        key = None if header else re.match(r"\s*([\w.\-\"' ]+?)\s*=", row)
        if header:
            path = section = _split_key(header.group(1))
        elif key:
            path = [*section, *_split_key(key.group(1))]
        else:
            continue
        # A table may begin below the path itself: `[raet.sub]` shows the line of `raet`.
        length = min(len(path), len(wanted))
        if path[:length] == wanted[:length] and length > best[0]:
            best = (length, number)
    return best[1]


def _split_key(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]
