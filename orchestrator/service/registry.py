"""The schedules in force: scans of the folder, their changes in the journal, and the snoozes."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime

import anyio
from anyio.abc import TaskGroup

from orchestrator.errors import SettingsError
from orchestrator.service.folder import Fault, ScanResult, ScheduledPlaybook
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.protocols import SnoozeReader
from orchestrator.service.scheduler import Snooze, Snoozed

ScanFolder = Callable[[Mapping[str, str]], Awaitable[ScanResult]]
"""Scans the folder; gets the file of each known playbook, by playbook name."""
SCAN_PATIENCE = 1.0
"""Longest wait of firings for a scan, in seconds. A longer scan continues in the background."""


class ScheduleRegistry:
    """Registry of the schedules in force.

    Attributes:
        watched: the playbooks, by name; only playbooks recorded in the journal.
        faults: faults of files in the folder.
    """

    def __init__(
        self,
        scan: ScanFolder,
        snoozes: SnoozeReader,
        writer: JournalWriter,
        record_planned: Callable[[ScheduledPlaybook], Awaitable[None]],
    ) -> None:
        """Set up.

        Args:
            scan: scans the folder.
            snoozes: the store of the snoozes.
            writer: writer of the journal.
            record_planned: records the planned firings of a version, before a new version replaces that version.
        """
        self.watched: dict[str, ScheduledPlaybook] = {}
        self.faults: tuple[Fault, ...] = ()
        self._scan, self._snooze_store, self._writer = scan, snoozes, writer
        self._record_planned_firings = record_planned
        self._snoozes: Mapping[str, Snoozed] = {}
        self._found: ScanResult | OSError | None = None
        self._ended: anyio.Event | None = None
        self._scope = anyio.CancelScope()

    async def scan(self, group: TaskGroup, patience: float = SCAN_PATIENCE) -> None:
        """Scan the folder and read the snoozes; after a failed read the old state stays in force.

        Args:
            group: task group for a scan longer than `patience`.
            patience: longest wait for the scan, in seconds.
        """
        if self._ended is None:
            self._ended = anyio.Event()
            group.start_soon(self._scan_once, self._ended)
        with anyio.move_on_after(patience):
            await self._ended.wait()
        if self._ended.is_set():
            found, self._found, self._ended = self._found, None, None
            if found is not None:
                await self._accept_scan(found)
        try:
            self._snoozes = self._snooze_store.read_snoozes()
        except SettingsError as error:
            self._writer.troubles.set("snoozes", f"{error}; the earlier snoozes stay in force")
        else:
            self._writer.troubles.set("snoozes", None)

    def stop(self) -> None:
        """Cancel an active scan."""
        self._scope.cancel()

    async def _scan_once(self, ended: anyio.Event) -> None:
        known = {name: known.file for name, known in self._writer.state.list_present()}
        with self._scope:
            try:
                self._found = await self._scan(known)
            except OSError as error:
                self._found = error
        self._scope = anyio.CancelScope()
        ended.set()

    async def _accept_scan(self, found: ScanResult | OSError) -> None:
        if isinstance(found, OSError):
            self._writer.troubles.set("folder", f"the folder of playbooks can't be read: {found.strerror or found}")
            return
        self._writer.troubles.set("folder", None)
        self._report_faults(found)
        with suppress(OSError):  # The next scan finds unwritten changes again.
            await self._record_changes(found)

    def _report_faults(self, found: ScanResult) -> None:
        before, self.faults = self.faults, found.faults
        emit = self._writer.emit
        for fault in found.faults:
            if fault not in before:
                emit("playbook.invalid", file=fault.file, error=fault.message, hint=fault.hint, keeps=fault.keeps)
        for file in {fault.file for fault in before} - {fault.file for fault in found.faults}:
            emit("playbook.mended" if file in found.files else "playbook.removed", file=file)

    async def _record_changes(self, reading: ScanResult) -> None:
        writer = self._writer
        for name, watched in reading.watched.items():
            known = writer.state.playbooks.get(name)
            about = {
                "playbook": name,
                "file": watched.file,
                "timezone": watched.timetable.schedule.timezone,
                "when": watched.when,
                "left_out": watched.left_out,
            }
            if known is None or known.ended_at is not None:
                await writer.write("schedule.enabled", **about)
            elif (known.when, known.left_out, known.file) != (watched.when, watched.left_out, watched.file):
                if name in self.watched:
                    await self._record_planned_firings(self.watched[name])
                await writer.write("schedule.changed", **about)
            elif self.watched.get(name, watched) is not watched:
                writer.emit("playbook.changed", playbook=name, sha256=watched.loaded.sha256)
            self.watched[name] = watched
        for name in {*self.watched} - {*reading.watched}:
            del self.watched[name]
        unsure = {fault.file for fault in reading.faults} | reading.unsettled
        for name, known in list(writer.state.list_present()):
            # A file invalid since the start may be repaired: its schedule then continues.
            if name not in reading.watched and known.file not in unsure:
                await writer.write("schedule.ended", playbook=name)

    def find_snooze(self, playbook: str) -> Snooze | None:
        """Return the snooze of a playbook, even an ended snooze; None without a snooze."""
        snoozed = self._snoozes.get(playbook)
        return None if snoozed is None else snoozed.snooze

    def is_snoozed(self, playbook: str, planned: datetime, now: datetime) -> bool:
        """Return True if a snooze covers this firing now."""
        snooze = self.find_snooze(playbook)
        return snooze is not None and snooze.covers(planned, now)
