"""A process that can be killed between any two steps of its tasks, and what its death leaves on the disk."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import trio

from orchestrator.rehearsal.network import Network


class Disk:
    """The writing of an audit log: durable lines, and what of the last write a death in the middle of it leaves.

    Attributes:
        is_dead: whether the process was killed; nothing is written from then on.
        announced: by action and CVM, how many intents are on disk.
    """

    def __init__(self, rng: Random) -> None:
        self.is_dead = False
        self.announced: Counter[str] = Counter()
        self._rng = rng
        self._half_written = b""

    async def write(self, write: Callable[[], None]) -> None:
        """Write a batch of lines. A kill may come just before it, in the middle of it, or just after it."""
        data: bytes = getattr(write, "data", b"")
        self._half_written = data
        await trio.lowlevel.checkpoint()
        self._half_written = b""
        if self.is_dead:
            return
        write()
        for line in data.splitlines():
            if b'"event":"action.intent"' in line:
                record = json.loads(line)
                self.announced[f"{record['action']} {record['cvm']['id']}"] += 1
        await trio.lowlevel.checkpoint()

    def die(self, file: Path) -> None:
        """Leave a part of the write that was under way. Never the newline alone: so little is whole or not there."""
        self.is_dead = True
        if self._half_written and file.exists():
            with file.open("ab") as log:
                log.write(self._half_written[: self._rng.randint(0, len(self._half_written) - 2)])


@dataclass(eq=False)
class Killer(trio.abc.Instrument):
    """Kills a process after a number of steps of its tasks, or never.

    Attributes:
        steps: how many steps were taken so far.
        at: after how many the process dies; None for never.
        killed: whether it was killed.
    """

    steps: int = 0
    at: int | None = None
    killed: bool = False
    _kill: Callable[[], None] | None = None

    def arm(self, at: int | None, kill: Callable[[], None]) -> None:
        """Let a new process live for this many more steps."""
        self.at = None if at is None else self.steps + at
        self.killed, self._kill = False, kill

    def after_task_step(self, task: Any) -> None:  # noqa: ANN401 - trio's own type is not public
        """Count a step, and kill when it is time."""
        del task
        self.steps += 1
        if self.at is not None and self.steps >= self.at and not self.killed:
            self.killed = True
            assert self._kill is not None
            self._kill()


def kill(network: Network, disk: Disk, file: Path, scope: trio.CancelScope) -> None:
    """End a process at once: nothing of it is sent, heard or written from here on."""
    network.is_dead = True
    disk.die(file)
    scope.cancel()
