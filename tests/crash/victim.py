"""A process that carries a command out and dies at a moment that it was told beforehand."""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from orchestrator import times
from orchestrator.audit import log
from orchestrator.cli.main import main
from orchestrator.service import journal
from tests.warm import FORKSERVER

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

Where = Literal["before_write", "in_write", "before_sync", "after_sync", "after_seconds"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When to die.

    Attributes:
        where: at which step of writing the log, or after so many seconds.
        nth: at which write of the log, from 1.
        share: how much of the lines is written before an `in_write` death; the seconds of an `after_seconds` one.
    """

    where: Where
    nth: int = 1
    share: float = 0.5


def run(args: list[str], environment: Mapping[str, str], moment: Moment | None, output: Path) -> int:
    """Carry a command out in a process of its own; its exit code, or minus the signal that it died of."""
    process = start(args, environment, moment, output)
    process.join(60)
    assert process.exitcode is not None, "the command hangs"
    return process.exitcode


def start(
    args: list[str], environment: Mapping[str, str], moment: Moment | None, output: Path, *, ahead: float = 0.0
) -> "ForkServerProcess":
    """Start a command in a process of its own, with a clock that many seconds ahead."""
    process = FORKSERVER.Process(target=_live, args=(args, dict(environment), moment, output, ahead))
    process.start()
    return process


def _live(args: list[str], environment: dict[str, str], moment: Moment | None, output: Path, ahead: float) -> None:
    os.environ.update(environment)
    with output.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - it lives as long as the process
    if ahead:
        _set_clock_ahead(timedelta(seconds=ahead))
    if moment is not None:
        _arm(moment)
    sys.argv = ["orchestrator", *args]
    main()


def _arm(moment: Moment) -> None:
    if moment.where == "after_seconds":
        signal.signal(signal.SIGALRM, lambda *_: _die())
        signal.setitimer(signal.ITIMER_REAL, max(moment.share, 0.001))
        return
    write, sync, count = vars(log)["write_all"], os.fsync, 0

    def plural(fd: int, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == moment.nth and moment.where == "before_write":
            _die()
        if count == moment.nth and moment.where == "in_write":
            # Never the newline alone: one write of so little is whole or not there at all.
            os.write(fd, data[: max(2, int(len(data) * moment.share))])
            _die()
        write(fd, data)

    def synced(fd: Any) -> None:  # noqa: ANN401 - whatever os.fsync takes
        if count == moment.nth and moment.where == "before_sync":
            _die()
        sync(fd)
        if count == moment.nth and moment.where == "after_sync":
            _die()

    vars(log)["write_all"] = vars(journal)["write_all"] = plural
    os.fsync = synced


def _set_clock_ahead(ahead: timedelta) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:  # noqa: ANN401 - a moment of the parent class
            return datetime.now(tz) + ahead

    vars(times)["datetime"] = Clock


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
