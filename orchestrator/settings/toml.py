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
        raise SettingsError(f"not valid TOML: {message}", file=file, line=line, hint="text needs quotes") from error
    except (ValueError, RecursionError) as error:
        # A path with a NUL, a number of thousands of digits, or lists within lists within lists.
        raise SettingsError("the settings can't be read: no settings look like this", file=file) from error
