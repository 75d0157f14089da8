"""Which playbooks are watched: what the folder holds, told to the journal, and what is snoozed."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

import anyio
from anyio.abc import TaskGroup

from orchestrator.errors import SettingsError
from orchestrator.service.folder import Fault, Reading, Watched
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.scheduler import Snooze
from orchestrator.service.snoozes import Snoozed

Look = Callable[[Mapping[str, str]], Awaitable[Reading]]
"""Reads the folder; told which file each playbook's schedule was taken from."""
LOOK_PATIENCE = 1.0
"""Seconds; firings wait no longer than this for a look at the folder. A longer look goes on beside them."""


class ScheduleRegistry:
    """The playbooks whose schedules are run.

    Attributes:
        watched: each of them, by name; only what the journal knows of.
        faults: what is wrong with files in the folder.
    """

    def __init__(
        self,
        look: Look,
        snoozes: Callable[[], Mapping[str, Snoozed]],
        scribe: JournalWriter,
        keep_planned: Callable[[Watched], Awaitable[None]],
    ) -> None:
        """Set up.

        Args:
            look: reads the folder.
            snoozes: reads the snoozes.
            scribe: what is written down.
            keep_planned: writes down which firings of a version are planned, before another one takes its place.
        """
        self.watched: dict[str, Watched] = {}
        self.faults: tuple[Fault, ...] = ()
        self._look, self._read_snoozes, self._scribe, self._keep_planned = look, snoozes, scribe, keep_planned
        self._snoozes: Mapping[str, Snoozed] = {}
        self._found: Reading | OSError | None = None
        self._ended: anyio.Event | None = None
        self._scope = anyio.CancelScope()

    async def look(self, group: TaskGroup, patience: float = LOOK_PATIENCE) -> None:
        """Take in what changed; where something can't be read, things stay as they were.

        Args:
            group: where a look goes on that takes longer.
            patience: seconds to wait for it.
        """
        if self._ended is None:
            self._ended = anyio.Event()
            group.start_soon(self._look_once, self._ended)
        with anyio.move_on_after(patience):
            await self._ended.wait()
        if self._ended.is_set():
            found, self._found, self._ended = self._found, None, None
            if found is not None:
                await self._accept(found)
        try:
            self._snoozes = self._read_snoozes()
        except SettingsError as error:
            self._scribe.note("snoozes", f"{error}; what was snoozed before stays so")
        else:
            self._scribe.note("snoozes", None)

    def stop(self) -> None:
        """End a look that goes on."""
        self._scope.cancel()

    async def _look_once(self, ended: anyio.Event) -> None:
        known = {name: known.file for name, known in self._scribe.memory.present()}
        with self._scope:
            try:
                self._found = await self._look(known)
            except OSError as error:
                self._found = error
        self._scope = anyio.CancelScope()
        ended.set()

    async def _accept(self, found: Reading | OSError) -> None:
        if isinstance(found, OSError):
            self._scribe.note("folder", f"the folder of playbooks can't be read: {found.strerror or found}")
            return
        self._scribe.note("folder", None)
        self._hear_of(found.faults)
        with suppress(OSError):  # What could not be written down is found again at the next look.
            await self._take_in(found)

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
                if name in self.watched:
                    await self._keep_planned(self.watched[name])
                await scribe.write("schedule.changed", **about)
            elif self.watched.get(name, watched) is not watched:
                scribe.tell("playbook.changed", playbook=name, sha256=watched.loaded.sha256)
            self.watched[name] = watched
        for name in {*self.watched} - {*reading.watched}:
            del self.watched[name]
        unsure = {fault.file for fault in reading.faults} | reading.unsettled
        for name, known in list(scribe.memory.present()):
            # One that is invalid since the start may be mended: then it is where it was.
            if name not in reading.watched and known.file not in unsure:
                await scribe.write("schedule.ended", playbook=name)

    def snooze_of(self, playbook: str) -> Snooze | None:
        """A playbook's snooze, also one that is over."""
        snoozed = self._snoozes.get(playbook)
        return None if snoozed is None else snoozed.snooze

    def is_snoozed(self, playbook: str, planned: datetime, now: datetime) -> bool:
        """Whether this firing is to be left out now."""
        snooze = self.snooze_of(playbook)
        return snooze is not None and snooze.covers(planned, now)
