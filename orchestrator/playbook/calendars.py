"""Calendars in .ics files: a schedule omits firings during their events.

A process of its own evaluates a file, with limits on time and memory: no file can stop the reader.
"""

import hashlib
import json
import os
import subprocess
import sys
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from orchestrator.errors import PlaybookError
from orchestrator.state_files import read_regular

MAX_BYTES = 5_000_000
CPU_SECONDS = 20
"""Processor seconds per file."""
_WALL_SECONDS = 120
"""Seconds of real time; on a busy machine the process gets less than one processor."""
_SECRETS = ("ORCHESTRATOR_", "PHALA_")
_DAY = timedelta(days=1)
_REMEMBERED = 16

Hours: TypeAlias = tuple[datetime, datetime, str]
"""Start, end and name of an event."""


@dataclass(frozen=True, slots=True)
class DaysOff:
    """Days and times covered by the events of a calendar.

    Attributes:
        days: days in the schedule's zone, with the event's name.
        hours: time ranges in UTC, in order, without overlaps.
    """

    days: Mapping[date, str] = field(default_factory=dict, repr=False)
    hours: tuple[Hours, ...] = field(default=(), repr=False)

    def event_at(self, moment: datetime, day: date) -> str | None:
        """Return the name of the event at this moment or on this day; None without an event."""
        if day in self.days:
            return self.days[day]
        position = bisect_right(self.hours, moment, key=lambda each: each[0]) - 1
        if position >= 0 and moment < self.hours[position][1]:
            return self.hours[position][2]
        return None

    def document(self) -> dict[str, Any]:
        """Return the JSON form. Consecutive days with the same name are merged into a single entry."""
        rows = sorted(self.days.items())
        runs = groupby(enumerate(rows), key=lambda each: (each[1][0].toordinal() - each[0], each[1][1]))
        days = []
        for (_, what), run in runs:
            found = [day for _, (day, _) in run]
            days.append([found[0].isoformat(), found[-1].isoformat(), what])
        return {
            "days": days,
            "hours": [[_format_moment(begins), _format_moment(ends), what] for begins, ends, what in self.hours],
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "DaysOff":
        """Build the days from a document; raises KeyError, TypeError or ValueError for an invalid document."""
        days = {}
        for first, last, what in document["days"]:
            day, ends = date.fromisoformat(first), date.fromisoformat(last)
            while day <= ends:
                days[day] = str(what)
                day += _DAY
        hours = tuple(
            (_parse_moment(begins), _parse_moment(ends), str(what)) for begins, ends, what in document["hours"]
        )
        return cls(days, hours)


class CalendarReader:
    """Reads .ics files, every file in a process of its own.

    Several playbooks often share a file, so a cache keeps the last files by content and zone.
    """

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], DaysOff] = OrderedDict()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def __call__(self, file: Path, zone: ZoneInfo) -> DaysOff:
        """Read an .ics file.

        Args:
            file: path of the file.
            zone: zone of events without their own zone.

        Raises:
            PlaybookError: when the file is missing, unreadable, too large or no calendar, takes too long, or has an
                invalid
                event.
        """
        try:
            data = read_regular(file, MAX_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise PlaybookError(f"the calendar {file} can't be read: {reason}") from error
        return self.evaluate(data, zone, file)

    def evaluate(self, data: bytes, zone: ZoneInfo, file: Path) -> DaysOff:
        """Evaluate the content of an .ics file; arguments and errors as for a file."""
        key = (compute_digest(data), zone.key)
        if key not in self._remembered:
            document = self._read_in_process(data, zone, file)
            if "error" in document:
                raise PlaybookError(f"the calendar {file} can't be used: {document['error']}", hint=_HINT)
            self.remember(*key, DaysOff.of(document))
        return self._remembered[key]

    def remember(self, digest: str, zone: str, found: DaysOff) -> None:
        """Cache the result for a file with this digest."""
        self._remembered[digest, zone] = found
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def stop(self) -> None:
        """Kill all reading processes, in any thread, and refuse further reads."""
        self._stopped = True
        for process in list(self._processes):
            process.kill()

    def _read_in_process(self, data: bytes, zone: ZoneInfo, file: Path) -> dict[str, Any]:
        """Evaluate a calendar in another process without secrets; a time limit kills the process."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_SECRETS)}
        command = [sys.executable, "-P", "-m", "orchestrator.playbook.ics_process", zone.key, str(CPU_SECONDS)]
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)  # noqa: S603
        except OSError as error:
            raise PlaybookError(f"the calendar {file} can't be read: {error.strerror or error}") from error
        self._processes.add(process)
        try:
            if self._stopped:
                process.kill()
            out, _ = process.communicate(data, timeout=_WALL_SECONDS)
            document: dict[str, Any] = json.loads(out)
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            message = f"the calendar {file} can't be used: it takes more than {CPU_SECONDS} seconds, or too much memory"
            raise PlaybookError(message, hint="use a calendar with fewer events") from error
        finally:
            process.kill()
            process.wait()
            self._processes.discard(process)
        return document


_HINT = "correct the event in the calendar program and export again, or write the days into `not_on`"


def compute_digest(data: bytes) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    return hashlib.sha256(data).hexdigest()


def read_calendar(file: Path, zone: ZoneInfo) -> DaysOff:
    """Read a single .ics file, as `CalendarReader` does."""
    return CalendarReader()(file, zone)


def _format_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
