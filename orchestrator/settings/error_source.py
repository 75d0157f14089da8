"""Find the source of an invalid setting: the command line, an environment variable, or a line of the file."""

import re
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from orchestrator.errors import SettingsError
from orchestrator.settings.merge import COMMAND_LINE, ENVIRONMENT, Origin, find_origin
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


KEY_SETTINGS = ("api_key", "api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` with a key; the highest source with one of them gives the key."""
EXCLUSIVE = (
    tuple(("cloud", name) for name in KEY_SETTINGS),
    *((secret, (secret[0], f"{secret[1]}_file")) for secret in SECRETS if secret[0] != "cloud"),
)
"""Groups of settings with the same secret: the highest source with any of a group gives the secret."""


def locate_fault(
    fault: ErrorDetails, settings: type[BaseModel], origins: Mapping[Place, Origin], text: str
) -> SettingsError:
    """Return the error of a fault, with the source of the value. The value of a secret is never shown.

    Args:
        fault: a finding about the merged settings.
        settings: the model of all settings.
        origins: the origin of every value.
        text: the text of the settings file, for line numbers.
    """
    # pydantic adds `[key]` to the path of an invalid name.
    origin, place = find_origin(origins, tuple(part for part in fault["loc"] if part != "[key]"))
    place, message, hint = explain_fault({**fault, "loc": place}, settings)
    hint = hint or "config.example.toml lists every setting with its default"
    if any(place[: len(secret)] == secret[: len(place)] for secret in SECRETS):
        message = f"{format_path(place)} can't be used: {fault['msg'].removeprefix('Value error, ')}"
    if place[0] not in settings.model_fields:
        hint = suggest_nearest(str(place[0]), settings.model_fields)
    return error_at(origin, place, message, hint, text)


def error_at(origin: Origin | None, place: Place, message: str, hint: str | None, text: str = "") -> SettingsError:
    """Return an error with the source of a value.

    Args:
        origin: the source; None when no source has the value.
        place: the path of the value in the source.
        message: the error.
        hint: the remedy.
        text: the text of the settings file, for line numbers.
    """
    if origin is None:
        return SettingsError(message, hint=hint)
    if origin.source == COMMAND_LINE:
        return SettingsError(f"--set {origin.name}: {message}", hint=hint)
    if origin.source == ENVIRONMENT:
        return SettingsError(f"environment variable {origin.name}: {message}", hint=hint)
    return SettingsError(message, file=origin.source, line=_find_line(text, place), hint=hint)


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
