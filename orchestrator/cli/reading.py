"""The progress of reading many logs, for a waiting person."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import click

from orchestrator.cli.consoles import redraws
from orchestrator.text import plural, safe_text

_SOON_S = 1.0
_T = TypeVar("_T")


class UnreadableLogs:
    """The unreadable logs among many logs."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def count(self, row: Mapping[str, Any]) -> None:
        """Count a log by its row in the history."""
        if row["verdict"] == "unreadable":
            self._reasons[row.get("reason") or "unknown format"] += 1

    def warn(self) -> None:
        """Print the number of unreadable logs on stderr."""
        for reason, number in self._reasons.items():
            click.echo(f"Warning: {plural(number, 'log')} can't be read ({safe_text(reason, 200)})", err=True)


def with_progress(logs: Iterable[_T], clock: Callable[[], float] = time.monotonic) -> Iterator[_T]:
    """Yield the same logs; on a terminal, show the number of logs read so far every second."""
    if not redraws(sys.stderr):
        yield from logs
        return
    last, said = clock(), False
    try:
        for number, log in enumerate(logs):
            now = clock()
            if now - last >= _SOON_S:
                click.echo(f"\r{number:,} logs read ", nl=False, err=True)
                last, said = now, True
            yield log
    finally:
        if said:
            click.echo("\r\x1b[K", nl=False, err=True)
