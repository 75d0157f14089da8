"""Read the API key from the output of a command."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress

from pydantic import SecretStr, ValidationError

from orchestrator.errors import SettingsError
from orchestrator.settings.model import CloudSection

TIME_LIMIT = 10.0
"""Seconds for the command."""
_MOST_BYTES = 65_536
_ALONE = "the command has to print the key alone, on one line"
_NAME = "cloud.api_key_command"


def read_key_from_command(command: Sequence[str], time_limit: float = TIME_LIMIT) -> str:
    """Run a command without a shell; return the key on its stdout. Nothing of the output appears in an error.

    Args:
        command: the program and its arguments.
        time_limit: seconds until the command is killed; without a terminal, its children are killed as well.

    Raises:
        SettingsError: when the command fails, takes too long, or prints no key.
    """
    program = command[0]
    # A passphrase program may read the terminal only in the group of this process; Ctrl-C then reaches its children.
    own_session = not _is_at_terminal()
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of the person's own settings, without a shell
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=own_session,
        )
    except OSError as error:
        hint = 'check the path; write the command as a list, such as ["pass", "show", "phala/key"]'
        raise SettingsError(f"{_NAME}: {program!r} can't be started: {error.strerror}", hint=hint) from None
    except ValueError:
        raise SettingsError(f"{_NAME}: an argument has a NUL") from None
    try:
        output = _read_output(process, time.monotonic() + time_limit)
    except (TimeoutError, subprocess.TimeoutExpired):
        hint = f"run the command by hand; it has {time_limit:g}s"
        raise SettingsError(f"{_NAME}: {program!r} did not end within {time_limit:g}s", hint=hint) from None
    finally:
        if own_session and process.returncode != 0:
            # The children of a failed command; a command that succeeded may leave an agent behind.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        assert process.stdout is not None  # noqa: S101 - for the type checker
        process.stdout.close()
    if len(output) > _MOST_BYTES:
        raise SettingsError(f"{_NAME}: the output of {program!r} is not a key", hint=_ALONE)
    if process.returncode:
        ended = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        hint = "run the command by hand: its messages are not shown here, because they may hold the key"
        raise SettingsError(f"{_NAME}: {program!r} failed with {ended}", hint=hint)
    return _check_output(output, program)


def _is_at_terminal() -> bool:
    """Is this process in the foreground of a terminal?"""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _read_output(process: subprocess.Popen[bytes], end: float) -> bytes:
    """Read the stdout until its end or a size limit, and wait for the exit of the process.

    Raises:
        TimeoutError: when the output does not end in time; `TimeoutExpired` when the process does not.
    """
    assert process.stdout is not None  # noqa: S101 - for the type checker
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(output) <= _MOST_BYTES:
            if not selector.select(max(0.0, end - time.monotonic())):
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), _MOST_BYTES)
            if not piece:
                process.wait(max(0.0, end - time.monotonic()))
                break
            output += piece
    return output  # a larger output is no key; the caller kills the process


def _check_output(output: bytes, program: str) -> str:
    try:
        text = output.decode("ascii").strip()
        found = CloudSection(api_key=SecretStr(text)).api_key if text else None
    except (UnicodeDecodeError, ValidationError):
        raise SettingsError(f"{_NAME}: the output of {program!r} is not a key", hint=_ALONE) from None
    if found is None:
        raise SettingsError(f"{_NAME}: {program!r} printed nothing", hint=_ALONE)
    return found.get_secret_value()
