"""Read a settings file; check a file merely found in the current folder."""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.errors import SettingsError
from orchestrator.loopback import is_loopback
from orchestrator.state_files import read_regular

_MOST_BYTES = 10_000_000
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NOT_FROM_FOUND = ("api_key_file", "api_key_command", "profile")
"""Settings of the section `cloud` without effect in a file that was merely found in the current folder."""
_VENDORS_URL = "https://cloud-api.phala.com/"


def read_toml(file: Path) -> tuple[str, dict[str, Any]]:
    """Read a TOML file; return its text, for line numbers, and its values.

    Raises:
        SettingsError: with the line, when the file is missing, can't be read, or is not TOML.
    """
    try:
        text = read_regular(file, _MOST_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        hint = "copy config.example.toml, or remove --config"
        raise SettingsError("there is no such settings file", file=file, hint=hint) from None
    except OSError as error:
        raise SettingsError(f"the settings can't be read: {error.strerror or error}", file=file) from error
    except UnicodeDecodeError as error:
        raise SettingsError("the settings are not UTF-8 text", file=file) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        message = re.sub(r" \(at [^)]*\)$", "", str(error))
        line = int(found.group(1)) if found else None
        raise SettingsError(f"not valid TOML: {message}", file=file, line=line, hint=_find_hint(message)) from error
    except (ValueError, RecursionError) as error:
        # A path with a NUL, a number with thousands of digits, or deeply nested lists.
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SettingsError(f"the settings can't be read: {reason}", file=file) from error


_HINTS = {
    "Invalid value": "text needs quotes, and a list needs brackets",
    "Expected '=' after a key": "write each setting as KEY = VALUE",
    "Expected ']' at the end of a table declaration": "write a section as [NAME]",
    "Expected newline or end of document": "write one setting a line; text needs quotes",
    "Unterminated string": "a quote is missing at the end of the text",
    "Unclosed array": "a ] is missing at the end of the list",
    "Cannot overwrite a value": "the setting occurs twice: remove one occurrence",
    "Cannot declare": "the section occurs twice: merge the two sections",
    "Illegal character": "a quote is missing at the end of the text, or a control character is in the file",
    "Unescaped '\\'": "write \\\\ for a backslash, or put the text in single quotes",
}
"""Remedies for errors of the TOML parser, by the beginning of the parser's message."""


def _find_hint(message: str) -> str | None:
    return next((hint for beginning, hint in _HINTS.items() if message.startswith(beginning)), None)


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
    cloud = _as_mapping(tree.get("cloud"))
    workspaces = _as_mapping(tree.get("workspaces"))
    ignored = [f"cloud.{name}" for name in _NOT_FROM_FOUND if name in cloud]
    ignored += [f"workspaces.{name}" for name, section in workspaces.items() if _is_unsafe(_as_mapping(section), cloud)]
    kept = dict(tree)
    for path in ignored:
        section, _, name = path.partition(".")
        kept[section] = {key: value for key, value in kept[section].items() if key != name}
    return kept, tuple(
        f"{file} of the current folder: {path} is ignored; use --config {file}, or your own config folder"
        for path in ignored
    )


def _is_unsafe(section: Mapping[str, Any], cloud: Mapping[str, Any]) -> bool:
    """Return True if a workspace reads a key file, or sends a variable to another machine named by the same file."""
    url = str(section.get("base_url") or cloud.get("base_url") or _VENDORS_URL)
    host = urlsplit(url).hostname or ""
    return "api_key_file" in section or not (url.startswith(_VENDORS_URL) or is_loopback(host))


def _as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
