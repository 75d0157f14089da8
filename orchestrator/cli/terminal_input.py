"""The terminal at which a person is asked: where questions are shown, and what is typed."""

import os
import select
import sys
import termios
from contextlib import suppress
from typing import TextIO

from orchestrator.cli.streams import text_on


class TerminalInput:
    """The terminal behind stdin. No thread waits there, so nothing has to be woken up to leave.

    Attributes:
        gone: whether no more lines will come: the terminal was closed, or its user sent end of file.
        screen: where questions are shown.
    """

    def __init__(self, fd: int, screen: TextIO) -> None:
        """Set up.

        Args:
            fd: a terminal, open for reading.
            screen: where questions are shown.
        """
        self.gone = False
        self.screen = screen
        self._fd = fd

    def ask(self, question: str) -> str:
        """Ask, and wait for a line; returns the line without blanks around it, empty at the end of the input.

        Text that was typed before is dropped.
        """
        # In the background the system stops this process here until it is in front again, as for reading.
        with suppress(OSError, termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
        self.screen.write(question)
        self.screen.flush()
        with os.fdopen(self._fd, "rb", buffering=0, closefd=False) as typed:
            return typed.readline().decode("utf-8", "replace").strip()

    def forget(self) -> None:
        """Drop what was typed so far: nobody answers a question before it is asked."""
        if self._in_front():
            with suppress(OSError, termios.error):
                termios.tcflush(self._fd, termios.TCIFLUSH)

    def line(self) -> str | None:
        """A line that was typed, if there is one by now, without blanks around it."""
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
        """Whether this process may read there: one in the background is stopped by the system for trying."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            self.gone = True
            return False


def terminal() -> TerminalInput | None:
    """The terminal at which a person can be asked; None where stdin is not one.

    Questions are shown on stderr; where stderr leads elsewhere, on the terminal itself.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    screen = sys.stderr if sys.stderr.isatty() else _screen(sys.stdin.fileno())
    return None if screen is None else TerminalInput(sys.stdin.fileno(), screen)


def _screen(fd: int) -> TextIO | None:
    """The terminal of this process, else the one behind a descriptor, open for writing; None where neither opens."""
    with suppress(OSError):
        return text_on(os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY), sys.stderr)
    with suppress(OSError):
        return text_on(os.open(os.ttyname(fd), os.O_WRONLY | os.O_NOCTTY), sys.stderr)
    return None
