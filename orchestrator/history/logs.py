"""Read all logs of a state folder through the index, or from the log if the index has no entry."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from orchestrator.audit.store import StoredRun
from orchestrator.history.entry import Entry, Json, read_entry
from orchestrator.history.index import Index
from orchestrator.history.time_range import TimeRange

Read: TypeAlias = Callable[[StoredRun], Entry]
"""Reads a log without an index entry."""

_UNREADABLE = "unreadable"
_SLACK = timedelta(days=1)
"""The largest difference between the time in a run's name and the time in its log."""


def read_rows(runs: Iterable[StoredRun], index: Index, read: Read = read_entry) -> Iterator[tuple[StoredRun, Json]]:
    """Yield the row of each log, in order; skip vanished logs."""
    for run in runs:
        try:
            row = index.row(run.run_id, run.read_version().stamp)
        except OSError:
            row = None
        if row is None:
            entry = _read_and_keep(run, index, read)
            if entry is None:
                continue
            row = entry.row
        yield run, row


def read_entries(runs: Iterable[StoredRun], index: Index, read: Read = read_entry) -> Iterator[tuple[StoredRun, Entry]]:
    """Yield the entry of each log, in order; skip vanished logs."""
    for run in runs:
        try:
            entry = index.entry(run.run_id, run.read_version().stamp)
        except OSError:
            entry = None
        entry = entry or _read_and_keep(run, index, read)
        if entry is not None:
            yield run, entry


def select_named_within(runs: Iterable[StoredRun], time_range: TimeRange) -> Iterator[StoredRun]:
    """Yield the logs within this time range by their names; a name without a time is always within."""
    for run in runs:
        try:
            named = datetime.strptime(run.run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            yield run
            continue
        early = time_range.until is not None and named >= time_range.until + _SLACK
        late = time_range.since is not None and named < time_range.since - _SLACK
        if not early and not late:
            yield run


def _read_and_keep(run: StoredRun, index: Index, read: Read) -> Entry | None:
    """Read a log, unless the log is gone."""
    try:
        before = run.read_version()
        entry = read(run)
        if before == run.read_version():
            index.keep(run.run_id, before, entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        return Entry({"verdict": _UNREADABLE, "counts": {}, "reason": (error.strerror or str(error)).lower()})
    return entry
