"""The CVMs of a command line: arguments, and lines of a file or of stdin."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import UsageError

_LARGEST = 10_000_000
_STDIN = "-"


def read_names(arguments: tuple[str, ...], sources: tuple[str, ...]) -> list[str]:
    """List the named CVMs.

    Args:
        arguments: the CVMs of the command line.
        sources: the paths of all `--from`, `-` for stdin.

    Raises:
        UsageError: when a file can't be read, is too large, is not text, or names no CVM; when stdin is named twice.
    """
    names = [name.strip() for name in arguments]
    if any(not name for name in names):
        raise UsageError("a CVM has an empty name", hint="an unset variable of the shell is empty")
    if sources.count(_STDIN) > 1:
        raise UsageError("--from - is given twice", hint="stdin can be read once; name it once")
    for source in sources:
        shown = "stdin" if source == _STDIN else source
        lines = _parse_lines(_read(source, shown), shown)
        if not lines:
            raise UsageError(f"{shown} names no CVM", hint="write one CVM a line: hashid, UUID, instance id or name")
        names += lines
    return names


def _read(source: str, shown: str) -> bytes:
    try:
        if source == _STDIN:
            data = sys.stdin.buffer.read(_LARGEST + 1)
            _reopen_terminal()
        else:
            path = Path(source)
            if path.is_dir():
                raise UsageError("--from: this is a folder", file=path, hint="name a file, or - for stdin")
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"--from {shown} can't be read: {reason}") from error
    if len(data) > _LARGEST:
        raise UsageError(f"--from {shown} is larger than 10 MB", hint="use selector options such as --teepod")
    return data


def _parse_lines(data: bytes, shown: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--from {shown} is not UTF-8 text", hint="write one CVM a line") from error
    if any(char < " " and char not in "\r\n\t" for char in text):
        raise UsageError(f"--from {shown} is a binary file", hint="write one CVM a line")
    lines = (line.strip() for line in text.replace("\r\n", "\n").split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _reopen_terminal() -> None:
    """Read later answers from the terminal of this process, since stdin was the list of CVMs."""
    with suppress(OSError):
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        sys.stdin = os.fdopen(fd, "r")
