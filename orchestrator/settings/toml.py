"""Reading a settings file."""

import re
import tomllib
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError


def read_toml(file: Path) -> tuple[str, dict[str, Any]]:
    """The file's text, in which lines can be found, and what it says.

    Raises:
        SettingsError: with the line, when it is missing, can't be read, or is not TOML.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except FileNotFoundError:
        hint = "copy config.example.toml, or leave --config out"
        raise SettingsError("there is no such settings file", file=file, hint=hint) from None
    except OSError as error:
        raise SettingsError(f"the settings can't be read: {error.strerror or error}", file=file) from error
    except UnicodeDecodeError as error:
        raise SettingsError("the settings are not UTF-8 text", file=file) from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        message = re.sub(r" \(at [^)]*\)$", "", str(error))
        line = int(found.group(1)) if found else None
        raise SettingsError(f"not valid TOML: {message}", file=file, line=line, hint=_hint(message)) from error
    except (ValueError, RecursionError) as error:
        # A path with a NUL, a number of thousands of digits, or lists within lists within lists.
        raise SettingsError("the settings can't be read: no settings look like this", file=file) from error


_HINTS = {
    "Invalid value": "text needs quotes, and a list brackets",
    "Expected '=' after a key": "write each setting as KEY = VALUE",
    "Expected ']' at the end of a table declaration": "write a section as [NAME]",
    "Expected newline or end of document": "write one setting a line; text needs quotes",
    "Unterminated string": "a quote is missing at the end of the text",
    "Unclosed array": "a ] is missing at the end of the list",
    "Cannot overwrite a value": "the setting stands there twice: remove one of them",
    "Cannot declare": "the section stands there twice: put its settings together",
    "Illegal character": "a quote is missing at the end of the text, or a control character is in the file",
    "Unescaped '\\'": "write \\\\ for a backslash, or put the text in single quotes",
}
"""What helps against an error of the TOML parser, by the beginning of its message."""


def _hint(message: str) -> str | None:
    return next((hint for beginning, hint in _HINTS.items() if message.startswith(beginning)), None)
