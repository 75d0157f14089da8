"""Telling a person who waits how far the reading of many logs has come."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from orchestrator.cli.colour import redraws

_SOON_S = 1.0


def told(paths: Iterable[Path], clock: Callable[[], float] = time.monotonic) -> Iterator[Path]:
    """The same paths; on a terminal, with a line on how many there were for each second that it takes."""
    if not redraws(sys.stderr):
        yield from paths
        return
    last, said = clock(), False
    try:
        for number, path in enumerate(paths):
            now = clock()
            if now - last >= _SOON_S:
                click.echo(f"\r{number:,} logs read ", nl=False, err=True)
                last, said = now, True
            yield path
    finally:
        if said:
            click.echo("\r\x1b[K", nl=False, err=True)
