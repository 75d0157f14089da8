"""Read all logs of a state folder through the index, or from the log if the index has no entry."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from orchestrator.history.entry import Entry, Json, read_entry
from orchestrator.history.index import Index, stamp_of
from orchestrator.history.time_range import TimeRange

Read: TypeAlias = Callable[[Path], Entry]
"""Reads a log without an index entry."""

_UNREADABLE = "unreadable"
_SLACK = timedelta(days=1)
"""The largest difference between the time in a run's name and the time in its log."""


def read_rows(paths: Iterable[Path], index: Index, read: Read = read_entry) -> Iterator[tuple[Path, Json]]:
    """Yield the row of each log, in order; skip a log that vanished."""
    for path in paths:
        try:
            row = index.row(path.name, stamp_of(path.stat()))
        except OSError:
            row = None
        if row is None:
            entry = _read(path, index, read)
            if entry is None:
                continue
            row = entry.row
        yield path, row


def read_entries(paths: Iterable[Path], index: Index, read: Read = read_entry) -> Iterator[tuple[Path, Entry]]:
    """Yield the entry of each log, in order; skip a log that vanished."""
    for path in paths:
        try:
            entry = index.entry(path.name, stamp_of(path.stat()))
        except OSError:
            entry = None
        entry = entry or _read(path, index, read)
        if entry is not None:
            yield path, entry


def named_within(paths: Iterable[Path], stretch: TimeRange) -> Iterator[Path]:
    """Yield the logs within this time range by their names; a name without a time is always within."""
    for path in paths:
        try:
            named = datetime.strptime(path.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            yield path
            continue
        early = stretch.until is not None and named >= stretch.until + _SLACK
        late = stretch.since is not None and named < stretch.since - _SLACK
        if not early and not late:
            yield path


def _read(path: Path, index: Index, read: Read) -> Entry | None:
    """Read a log, unless the log is gone."""
    try:
        before = path.stat()
        entry = read(path)
        if stamp_of(before) == stamp_of(path.stat()):
            index.keep(path.name, before, entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Entry({"verdict": _UNREADABLE, "counts": {}, "reason": (error.strerror or str(error)).lower()})
    return entry
