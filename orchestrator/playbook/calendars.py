"""Calendars in .ics files, whose events a schedule leaves out.

A file is worked out in a process of its own, with limits on time and memory: whatever stands in it, the reader goes on.
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
from orchestrator.playbook.regular_file import read_regular

MAX_BYTES = 5_000_000
CPU_SECONDS = 20
"""How much processor time one file may take."""
_WALL_SECONDS = 120
"""A busy machine gives the process less than one processor."""
_SECRETS = ("ORCHESTRATOR_", "PHALA_")
_DAY = timedelta(days=1)
_REMEMBERED = 16

Hours: TypeAlias = tuple[datetime, datetime, str]
"""From when, until when, and what goes on then."""


@dataclass(frozen=True, slots=True)
class DaysOff:
    """What the events of a calendar take: whole days of the schedule's zone, and stretches of time.

    Attributes:
        days: the days, each with what goes on.
        hours: the stretches of time in UTC, in order; none of them overlap.
    """

    days: Mapping[date, str] = field(default_factory=dict, repr=False)
    hours: tuple[Hours, ...] = field(default=(), repr=False)

    def event_at(self, moment: datetime, day: date) -> str | None:
        """What goes on at this moment, or all of this day; None where nothing does."""
        if day in self.days:
            return self.days[day]
        position = bisect_right(self.hours, moment, key=lambda each: each[0]) - 1
        if position >= 0 and moment < self.hours[position][1]:
            return self.hours[position][2]
        return None

    def document(self) -> dict[str, Any]:
        """As JSON has it: days in a row with one name are one entry."""
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
        """What a document says; raises KeyError, TypeError or ValueError where it is none."""
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
    """Reads .ics files, each in a process of its own.

    Several playbooks often name one file: the files read last are remembered by their content and zone.
    """

    def __init__(self) -> None:
        self._remembered: OrderedDict[tuple[str, str], DaysOff] = OrderedDict()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def __call__(self, file: Path, zone: ZoneInfo) -> DaysOff:
        """Read an .ics file.

        Args:
            file: where it is.
            zone: of events that name none.

        Raises:
            PlaybookError: when it is missing, unreadable, too large, no calendar, takes too long, or has an event
                that makes no sense.
        """
        try:
            data = read_regular(file, MAX_BYTES)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise PlaybookError(f"the calendar {file} can't be read: {reason}") from error
        key = (compute_digest(data), zone.key)
        if key not in self._remembered:
            document = self._read_in_process(data, zone, file)
            if "error" in document:
                raise PlaybookError(f"the calendar {file} can't be used: {document['error']}", hint=_HINT)
            self.remember(*key, DaysOff.of(document))
        return self._remembered[key]

    def remember(self, digest: str, zone: str, found: DaysOff) -> None:
        """Take what was worked out before of a file with this digest."""
        self._remembered[digest, zone] = found
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def stop(self) -> None:
        """End what is being read, in whatever thread, and read nothing more."""
        self._stopped = True
        for process in list(self._processes):
            process.kill()

    def _read_in_process(self, data: bytes, zone: ZoneInfo, file: Path) -> dict[str, Any]:
        """Have another process work a calendar out, one that knows no secrets and can be killed."""
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
            raise PlaybookError(message, hint="take a calendar with fewer events") from error
        finally:
            process.kill()
            process.wait()
            self._processes.discard(process)
        return document


_HINT = "correct it in the calendar program and export it again, or write the days into `not_on`"


def compute_digest(data: bytes) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(data).hexdigest()


def read_calendar(file: Path, zone: ZoneInfo) -> DaysOff:
    """Read one .ics file, as `CalendarReader` does."""
    return CalendarReader()(file, zone)


def _format_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
