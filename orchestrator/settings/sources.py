"""Sources of the settings: the settings file, the source of every value, and lists given by several sources.

A list is a JSON list, or a single plain value; the command line may repeat a setting. Text that only looks like a list
is an error: `a-*,b-*` would protect nothing. The highest source replaces the lower sources, but protections add up.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from orchestrator.errors import SettingsError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

KEY_SETTINGS = ("api_key", "api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` with a key; the highest source with one of them gives the key."""
_NOT_FROM_FOUND = ("api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` without effect in a file that was merely found in the current folder."""

SettingPath = tuple[str, ...]
"""The names of the sections above a setting, and its own name."""

ADDING_UP: tuple[SettingPath, ...] = (
    ("guards", "protect", "name"),
    ("guards", "protect", "app_id"),
    ("guards", "protect", "teepod"),
    ("guards", "keep_running"),
)
"""Lists merged over all sources."""


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


class NotAListError(ValueError):
    """Raised when text is no list. The first argument is the reason, the second the remedy."""


def list_settings(model: type[BaseModel], above: SettingPath = ()) -> Iterator[SettingPath]:
    """Yield the path of every setting with a list, below a model."""
    for name, setting in model.model_fields.items():
        for part in _list_parts(setting.annotation):
            if get_origin(part) in {list, tuple}:
                yield (*above, name)
            elif isinstance(part, type) and issubclass(part, BaseModel):
                yield from list_settings(part, (*above, name))


def _list_parts(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - any annotation
    """Yield an annotation and its inner annotations, down to lists and models."""
    yield annotation
    if get_origin(annotation) not in {list, tuple}:
        for part in get_args(annotation):
            yield from _list_parts(part)


def as_list(value: object) -> list[object]:
    """Return the entries of a list from one source.

    Raises:
        NotAListError: when text is neither a JSON list nor a single plain value.
    """
    if not isinstance(value, str):
        return value if isinstance(value, list) else [value]
    write = """write a JSON list, such as '["a-*", "b-*"]', or repeat --set"""
    if value.lstrip().startswith(("[", "{")):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            raise NotAListError("is not valid JSON", write) from None
        return found if isinstance(found, list) else [found]
    if value.strip()[:1] in {'"', "'"}:
        raise NotAListError("has quotes around it", write)
    if "," in value:
        raise NotAListError("has a comma, and is one entry", write)
    if not value.strip():
        raise NotAListError("must not be empty", "leave the setting out, or name something")
    return [value]


def get_value(tree: Mapping[str, Any], path: SettingPath) -> object:
    """Return the value at a path; None without a value."""
    found: object = tree
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def with_value(tree: Mapping[str, Any], path: SettingPath, value: object) -> dict[str, Any]:
    """Return a tree with another value at a path; missing parts of the path are created."""
    first, *rest = path
    inner = tree.get(first)
    below = with_value(inner if isinstance(inner, Mapping) else {}, tuple(rest), value) if rest else value
    return {**tree, first: below}


class Origin(NamedTuple):
    """The source of an entry in a merged list.

    Attributes:
        source: the rank of the source.
        place: the entry's index in the list of that source.
    """

    source: int
    place: int


def merge_lists(sources: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[SettingPath, list[Origin]]]:
    """Merge the lists that add up over some sources; also return the source of every entry."""
    tree: dict[str, Any] = {}
    origins: dict[SettingPath, list[Origin]] = {}
    for path in ADDING_UP:
        given = [
            (rank, found) for rank, source in enumerate(sources) if isinstance(found := get_value(source, path), list)
        ]
        if given:
            tree = with_value(tree, path, [entry for _, found in given for entry in found])
            origins[path] = [Origin(rank, index) for rank, found in given for index in range(len(found))]
    return tree, origins
