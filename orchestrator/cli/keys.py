"""Lines typed at the terminal, taken without ever waiting for one."""

import os
import select
import sys
import termios
from contextlib import suppress


class Keys:
    """The terminal behind stdin. No thread waits there, so nothing has to be woken up to leave.

    Attributes:
        gone: whether no more lines will come: the terminal was closed, or its user sent end of file.
    """

    def __init__(self, fd: int) -> None:
        """Set up.

        Args:
            fd: a terminal, open for reading.
        """
        self.gone = False
        self._fd = fd

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


def terminal() -> Keys | None:
    """The terminal at which a person can be asked; None where stdin or stderr is not one."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return Keys(sys.stdin.fileno())
