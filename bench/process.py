"""Starting processes: pinned to a core, bounded in time, with their CPU seconds and their memory told at the end."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PYTHON = sys.executable
COMMAND = str(Path(sys.executable).with_name("orchestrator"))
"""The installed command."""

_KIB_A_UNIT = 1 / 1024 if sys.platform == "darwin" else 1
"""What `ru_maxrss` counts in: bytes on macOS, KiB elsewhere."""


class UnavailableError(Exception):
    """Raised when a case can't be measured, for a reason that a person should read."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative where a signal ended it.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
        seconds: how long it lived.
        cpu_seconds: what it used of the CPU, by itself and in the system.
        peak_rss_mib: the most memory that it held.
    """

    code: int
    out: str
    err: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float

    def expect(self, *codes: int) -> "Ended":
        """This, if it ended with one of these exit codes.

        Raises:
            UnavailableError: when it did not.
        """
        if self.code in codes:
            return self
        words = (self.err.strip() or self.out.strip()).splitlines() or ["without a word"]
        raise UnavailableError(f"ended with {self.code}: {' / '.join(words[-2:])[:300]}")


def core_for(role: str) -> int | None:
    """The core for the `server` or the `client`; None where there is one core only, or none can be chosen."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return None
    return cores[0] if role == "server" else cores[1]


def pin(pid: int, role: str | None) -> None:
    """Keep a process on the core of its role."""
    core = core_for(role) if role else None
    if core is not None and hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, {core})


def run(
    arguments: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    role: str | None = "client",
    seconds: float = 300,
) -> Ended:
    """Run a process to its end, its output in files as a cron job would have it.

    Raises:
        UnavailableError: when it does not end within `seconds`.
    """
    with (
        (folder / "stdout").open("w+", encoding="utf-8") as out,
        (folder / "stderr").open("w+", encoding="utf-8") as err,
    ):
        started = time.perf_counter()
        child = subprocess.Popen(arguments, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        pin(child.pid, role)
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()  # whoever ends the benchmark ends what it started
            raise
        finally:
            timer.cancel()
        lived = time.perf_counter() - started
        child.returncode = code = os.waitstatus_to_exitcode(status)
        if late.is_set():
            raise UnavailableError(f"did not end within {seconds:g} s")
        out.seek(0)
        err.seek(0)
        return Ended(
            code, out.read(), err.read(), lived, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB_A_UNIT / 1024
        )


class Server:
    """A process that serves for as long as the block lasts; `first_line` is what it says when it is ready."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.first_line = ""
        self._arguments, self._folder, self._env = arguments, folder, env
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._child = child = subprocess.Popen(
            self._arguments,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        pin(child.pid, "server")
        timer = threading.Timer(120, child.kill)
        timer.daemon = True
        timer.start()
        self.first_line = child.stdout.readline() if child.stdout else ""
        timer.cancel()
        if not self.first_line:
            raise UnavailableError(f"the server did not start: {' '.join(self._arguments[:4])}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout:
            self._child.stdout.close()
