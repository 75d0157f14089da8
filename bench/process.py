"""Start processes pinned to a core, with a time limit; measure their CPU seconds and memory."""

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
"""Unit of `ru_maxrss`: bytes on macOS, KiB elsewhere."""


class UnavailableError(Exception):
    """Raised for a case that cannot be measured, with the reason."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """The exit code, output, time and memory of an ended process.

    Attributes:
        code: its exit code; negative after a signal.
        out: its stdout.
        err: its stderr.
        seconds: its wall-clock time.
        cpu_seconds: its CPU time, user and system.
        peak_rss_mib: its peak memory.
    """

    code: int
    out: str
    err: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float

    def require_exit(self, *codes: int) -> "ProcessResult":
        """Return this result if its exit code is one of `codes`.

        Raises:
            UnavailableError: for another exit code.
        """
        if self.code in codes:
            return self
        words = (self.err.strip() or self.out.strip()).splitlines() or ["no output"]
        raise UnavailableError(f"ended with {self.code}: {' / '.join(words[-2:])[:300]}")


def choose_core(role: str) -> int | None:
    """Choose the core of the `server` or the `client`; None with a single core, or without a choice of cores."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return None
    return cores[0] if role == "server" else cores[1]


def pin_process(pid: int, role: str | None) -> None:
    """Keep a process on the core of its role."""
    core = choose_core(role) if role else None
    if core is not None and hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, {core})


def run_process(
    arguments: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str] | None = None,
    role: str | None = "client",
    seconds: float = 300,
) -> ProcessResult:
    """Run a process to its end, with its output in files as under cron.

    Raises:
        UnavailableError: the process did not end within `seconds`.
    """
    with (
        (folder / "stdout").open("w+", encoding="utf-8") as out,
        (folder / "stderr").open("w+", encoding="utf-8") as err,
    ):
        started = time.perf_counter()
        child = subprocess.Popen(arguments, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        pin_process(child.pid, role)
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
            child.kill()  # the end of the benchmark ends its processes
            raise
        finally:
            timer.cancel()
        lived = time.perf_counter() - started
        child.returncode = code = os.waitstatus_to_exitcode(status)
        if late.is_set():
            raise UnavailableError(f"did not end within {seconds:g} s")
        out.seek(0)
        err.seek(0)
        return ProcessResult(
            code, out.read(), err.read(), lived, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB_A_UNIT / 1024
        )


class ServerProcess:
    """A server process for the length of the block; `first_line` is its first output."""

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
        pin_process(child.pid, "server")
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
