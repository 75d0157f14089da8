"""The origin of the settings: the settings file, and the source of every value."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

KEY_SETTINGS = ("api_key", "api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` with a key; the highest source with one of them gives the key."""
_NOT_FROM_FOUND = ("api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` without effect in a file that was merely found in the current folder."""


@dataclass(frozen=True, slots=True)
class SettingsOrigin:
    """The origin of the settings.

    Attributes:
        file: the settings file; None without a file.
        is_found: whether the file was found in the current folder, without `--config`.
        sources: the source of every value that is not a default, by name such as `rate.burst`.
        warnings: sentences about settings without effect.
    """

    file: Path | None = None
    is_found: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def source_of(self, *names: str) -> str | None:
        """Return the source of the first of some settings with a value; None for defaults."""
        return next((self.sources[name] for name in names if name in self.sources), None)


def check_owner(file: Path) -> None:
    """Refuse a settings file of the current folder if another user could have written the file.

    The rule of ssh for its own settings file: the owner is this user or root, and nobody else may write. The folder
    is not checked: another user's file or symbolic link in the folder has another owner.

    Raises:
        SettingsError: when another user owns the file, or others may write the file.
    """
    try:
        found, link = file.stat(), file.lstat()
    except OSError:
        return  # the later read reports the error
    if not {found.st_uid, link.st_uid} <= {0, os.geteuid()}:
        hint = f"read the file first; then name it with --config ./{file}"
        raise SettingsError("another user owns this settings file of the current folder", file=file, hint=hint)
    if found.st_mode & _OTHERS_MAY_WRITE:
        hint = f"chmod go-w {file}"
        raise SettingsError("others may write this settings file of the current folder", file=file, hint=hint)


def drop_untrusted(tree: Mapping[str, Any], file: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Drop the settings without effect in a file merely found; return the rest and a warning for each setting."""
    cloud = tree.get("cloud")
    if not isinstance(cloud, Mapping):
        return dict(tree), ()
    ignored = [name for name in _NOT_FROM_FOUND if name in cloud]
    kept = {name: value for name, value in cloud.items() if name not in ignored}
    return {**tree, "cloud": kept}, tuple(
        f"{file} of the current folder: cloud.{name} is ignored; use --config {file}, or your own config folder"
        for name in ignored
    )


def list_sources(trees: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return the source of every value by the value's name, from trees of values, the highest first."""
    found: dict[str, str] = {}
    for source, tree in trees:
        for name in _list_names(tree):
            found.setdefault(name, source)
    return found


def _list_names(tree: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _list_names(value, f"{name}.")
        else:
            yield name
