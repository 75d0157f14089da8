"""The terminal of a person: the output for questions, and the typed input."""

import os
import select
import sys
import termios
from contextlib import suppress
from typing import TextIO

from orchestrator.cli.consoles import SafeStream, text_on


class TerminalInput:
    """The terminal behind stdin. No thread waits for input, so no thread has to be woken up at the end.

    Attributes:
        gone: whether the input has ended: the terminal was closed, or its user sent end of file.
        screen: the output for questions.
    """

    def __init__(self, fd: int, screen: TextIO) -> None:
        """Set up.

        Args:
            fd: a terminal, open for reading.
            screen: the output for questions.
        """
        self.gone = False
        self.screen = screen
        self._fd = fd

    def ask_line(self, question: str) -> str:
        """Ask, and wait for a line; returns the line without blanks around the text, empty at the end of the input.

        Earlier typed text is dropped.
        """
        # The system stops a background process here until its return to the foreground, as for reading.
        with suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
        self.screen.write(question)
        self.screen.flush()
        with os.fdopen(self._fd, "rb", buffering=0, closefd=False) as typed:
            return typed.readline().decode("utf-8", "replace").strip()

    def drop_typed(self) -> None:
        """Drop the text typed so far: no answer comes before its question."""
        if self._in_front():
            with suppress(OSError, termios.error):
                termios.tcflush(self._fd, termios.TCIFLUSH)

    def read_typed(self) -> str | None:
        """Return a line typed by now, without blanks around the text, or None."""
        if self.gone or not self._in_front():
            return None
        try:
            if not select.select([self._fd], [], [], 0)[0]:
                return None
            typed = os.read(self._fd, 4096)
        except (OSError, ValueError):
            typed = b""
        if not typed:
            self.gone = True
            return None
        return typed.decode("utf-8", "replace").strip()

    def _in_front(self) -> bool:
        """Check if this process may read the terminal: the system stops a background process for trying."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            self.gone = True
            return False


def open_terminal() -> TerminalInput | None:
    """Return the terminal for questions to a person; None for any other stdin.

    Questions are shown on stderr; if stderr leads elsewhere, on the terminal itself.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    screen = sys.stderr if sys.stderr.isatty() else _open_screen(sys.stdin.fileno())
    return None if screen is None else TerminalInput(sys.stdin.fileno(), screen)


_SCREEN = os.O_WRONLY | os.O_NOCTTY


def _open_screen(fd: int) -> TextIO | None:
    """Open the terminal of this process, or the terminal behind a descriptor, for writing; None if neither opens."""
    with suppress(OSError):
        return text_on(SafeStream(os.open("/dev/tty", _SCREEN), "w", closefd=False), sys.stderr)
    with suppress(OSError):
        return text_on(SafeStream(os.open(os.ttyname(fd), _SCREEN), "w", closefd=False), sys.stderr)
    return None


def ask_passphrase() -> str | None:
    """Ask for the passphrase of a private key; None without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    import click  # noqa: PLC0415 - few keys have a passphrase

    answer: str = click.prompt("Passphrase of the key", hide_input=True, err=True)
    return answer
