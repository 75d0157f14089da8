"""Records the picture in the README: `python docs/record.py` runs a playbook in a terminal and writes images/run.svg.

The terminal is a real one (a pseudo-terminal), the cloud a simulated one, and the number that `run` asks for is typed.
The view that `run` shows while it works is gone when it ends; the picture has it as it was when half of the CVMs were
down, between what came before and after it.
"""  # noqa: INP001 - a script, not a package

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).resolve().parent / "images" / "run.svg"
COMMAND = ("orchestrator", "run", "emergency-stop-teepod", "--simulate", "--var", "teepod=prod-1")
COLUMNS, ROWS = 104, 60
_ASKED = re.compile(rb"\((\d+)\) to continue: $")
_COUNT = re.compile(r"(\d+)/(\d+)")
_CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])")


class Screen:
    """As much of a terminal as the live view needs: lines, carriage returns, erasing, and moving up.

    Attributes:
        lines: what stands on it, with its colours as escape sequences.
    """

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def feed(self, text: str) -> None:
        """Take output in."""
        position = 0
        while position < len(text):
            control = _CONTROL.match(text, position)
            if control:
                self._control(control)
                position = control.end()
                continue
            self._put(text[position])
            position += 1

    def _control(self, control: re.Match[str]) -> None:
        amount, kind = control.groups()
        if kind == "A":
            self._row -= int(amount or 1)
        elif kind == "K":
            self.lines[self._row] = ""
        elif kind == "m":
            self.lines[self._row] += control.group()

    def _put(self, char: str) -> None:
        if char == "\n":
            self._row += 1
            if self._row == len(self.lines):
                self.lines.append("")
        elif char != "\r":
            self.lines[self._row] += char


def record() -> list[str]:
    """Run the command in a terminal; the lines of the picture."""
    screen = Screen()
    halfway: list[str] = []
    pid, fd = pty.fork()
    if pid == 0:
        _become_the_command()
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    asked, typed = b"", False
    while chunk := _read(fd):
        asked = (asked + chunk)[-200:]
        question = None if typed else _ASKED.search(asked)
        if question:
            typed = True
            os.write(fd, question.group(1) + b"\n")
        for frame in re.split(r"(?=\x1b\[2K)", chunk.decode("utf-8", "replace")):
            screen.feed(frame)
            halfway = halfway or _halfway(screen)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code or not halfway:
        raise SystemExit(f"the run ended with {code}, {'with' if halfway else 'without'} a view of its middle")
    end = next(number for number, line in enumerate(screen.lines) if "Run " in line)
    prompt = "\x1b[1m$ " + " ".join(COMMAND) + "\x1b[0m"
    return [prompt, *screen.lines[:end], *halfway, "", *screen.lines[end:]]


def _become_the_command() -> None:
    root, folder = Path(__file__).resolve().parent.parent, Path(tempfile.mkdtemp())
    (folder / "playbooks").symlink_to(root / "playbooks")
    os.chdir(folder)
    os.environ |= {
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "ORCHESTRATOR_STATE_DIR": "demo",
        "ORCHESTRATOR_LOG__LEVEL": "warning",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    os.execvp(COMMAND[0], COMMAND)  # noqa: S606 - the command above, without a shell


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""  # On Linux the end of a terminal is an error.


def _halfway(screen: Screen) -> list[str]:
    """The three lines of the live view, once half of the CVMs are down and the view is whole."""
    view = screen.lines[-3:]
    count = _COUNT.search(view[0]) if "━" in view[0] else None
    if count and "requests a second" in view[2] and int(count[1]) * 2 >= int(count[2]):
        return view
    return []


def main() -> None:
    """Write the picture."""
    lines = record()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for line in lines:
            console.print(Text.from_ansi(line), highlight=False, overflow="crop", no_wrap=True)
    svg = console.export_svg(title="orchestrator", unique_id="run")
    # Without its links to a web font: a picture loads nothing from elsewhere.
    PICTURE.write_text(re.sub(r"\n\s*@font-face \{.*?\n    \}", "", svg, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
