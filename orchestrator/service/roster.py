"""Which playbooks are watched: what the folder holds, told to the journal, and what is snoozed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

from orchestrator.errors import SettingsError
from orchestrator.service.agenda import Snooze
from orchestrator.service.folder import Fault, Reading, Watched
from orchestrator.service.scribe import Scribe
from orchestrator.service.snoozes import Snoozed

Look = Callable[[Mapping[str, str]], Awaitable[Reading]]
"""Reads the folder; told which file each playbook's schedule was taken from."""


class Roster:
    """The playbooks whose schedules are run.

    Attributes:
        watched: each of them, by name; only what the journal knows of.
        faults: what is wrong with files in the folder.
    """

    def __init__(self, look: Look, snoozes: Callable[[], Mapping[str, Snoozed]], scribe: Scribe) -> None:
        self.watched: dict[str, Watched] = {}
        self.faults: tuple[Fault, ...] = ()
        self._look, self._read_snoozes, self._scribe = look, snoozes, scribe
        self._snoozes: Mapping[str, Snoozed] = {}

    async def look(self) -> None:
        """Take in what changed; where something can't be read, things stay as they were."""
        scribe = self._scribe
        known = {name: known.file for name, known in scribe.memory.present()}
        try:
            reading = await self._look(known)
        except OSError as error:
            scribe.note("folder", f"the folder of playbooks can't be read: {error.strerror or error}")
        else:
            scribe.note("folder", None)
            self._hear_of(reading.faults)
            with suppress(OSError):  # What could not be written down is found again at the next look.
                await self._take_in(reading)
        try:
            self._snoozes = self._read_snoozes()
        except SettingsError as error:
            scribe.note("snoozes", f"{error}; what was snoozed before stays so")
        else:
            scribe.note("snoozes", None)

    def _hear_of(self, faults: tuple[Fault, ...]) -> None:
        before, self.faults = self.faults, faults
        tell = self._scribe.tell
        for fault in faults:
            if fault not in before:
                tell("playbook.invalid", file=fault.file, error=fault.message, hint=fault.hint, keeps=fault.keeps)
        for file in {fault.file for fault in before} - {fault.file for fault in faults}:
            tell("playbook.mended", file=file)

    async def _take_in(self, reading: Reading) -> None:
        scribe = self._scribe
        for name, watched in reading.watched.items():
            known = scribe.memory.playbooks.get(name)
            about = {
                "playbook": name,
                "file": watched.file,
                "timezone": watched.timetable.schedule.timezone,
                "when": watched.when,
                "left_out": watched.left_out,
            }
            if known is None or known.ended_at is not None:
                await scribe.write("schedule.enabled", **about)
            elif (known.when, known.left_out, known.file) != (watched.when, watched.left_out, watched.file):
                await scribe.write("schedule.changed", **about)
            elif self.watched.get(name, watched) is not watched:
                scribe.tell("playbook.changed", playbook=name, sha256=watched.loaded.sha256)
            self.watched[name] = watched
        for name in {*self.watched} - {*reading.watched}:
            del self.watched[name]
        faulty = {fault.file for fault in reading.faults}
        for name, known in list(scribe.memory.present()):
            # One that is invalid since the start may be mended: then it is where it was.
            if name not in reading.watched and known.file not in faulty:
                await scribe.write("schedule.ended", playbook=name)

    def snooze_of(self, playbook: str) -> Snooze | None:
        """A playbook's snooze, also one that is over."""
        snoozed = self._snoozes.get(playbook)
        return None if snoozed is None else snoozed.snooze

    def is_snoozed(self, playbook: str, planned: datetime, now: datetime) -> bool:
        """Whether this firing is to be left out now."""
        snooze = self.snooze_of(playbook)
        return snooze is not None and snooze.covers(planned, now)
