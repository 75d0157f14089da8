"""The schedules in force: scans of the folder, their changes in the journal, and the snoozes."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from orchestrator.errors import OrchestratorError, SettingsError
from orchestrator.playbook.firings import Timetable
from orchestrator.playbook.load import load_source
from orchestrator.playbook.schedule import name_wake
from orchestrator.playbook.source import parse_source
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.folder import Fault, ScanResult, ScheduledPlaybook, build_kept_wake, list_calendars
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.protocols import SnoozeReader
from orchestrator.service.scheduler import Snooze, Snoozed, is_wake_due
from orchestrator.service.service_state import ScheduleState

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
            await self._keep_wake(watched)
        for name in {*self.watched} - {*reading.watched}:
            if self.watched[name].timetable.wakes is None:
                del self.watched[name]
        unsure = {fault.file for fault in reading.faults} | reading.unsettled
        for name, known in list(writer.state.list_present()):
            # A file invalid since the start may be repaired: its schedule then continues.
            if name not in reading.watched and known.file not in unsure and not await self._leave_wake(name, known):
                self.watched.pop(name, None)
                await writer.write("schedule.ended", playbook=name)

    async def _keep_wake(self, watched: ScheduledPlaybook) -> None:
        """Keep the playbook of a wake in the journal: the removal of the file must not cancel an owed wake."""
        if watched.timetable.wakes is None:
            return
        kept = {"source": watched.loaded.data.decode(), "calendars": list_calendars(watched)}
        known = self._writer.state.playbooks[watched.name]
        if known.kept_wake != kept or known.left_at is not None:
            await self._writer.write("wake.kept", playbook=watched.name, **kept)

    async def _leave_wake(self, name: str, known: ScheduleState) -> bool:
        """Leave a wake without its playbook in force until the wake has run once more; False after that."""
        if known.kept_wake is None or known.is_over:
            return False
        if name not in self.watched:
            try:
                loaded = load_source(parse_source(known.kept_wake["source"].encode(), Path(known.file)), {})
                wake = build_kept_wake(loaded, known.kept_wake["calendars"])
            except (OrchestratorError, LookupError, TypeError, ValueError):
                wake = None
            if wake is None:
                return False
            self.watched[name] = wake
        if known.left_at is None:
            await self._writer.write("wake.left", playbook=name)
        return True

    def find_snooze(self, playbook: str) -> Snooze | None:
        """Return the snooze of a playbook, even an ended snooze; None without a snooze, and for a wake."""
        watched = self.watched.get(playbook)
        is_wake = watched is not None and watched.timetable.wakes is not None
        snoozed = None if is_wake else self._snoozes.get(playbook)
        return None if snoozed is None else snoozed.snooze

    def find_wake(self, playbook: str) -> Timetable | None:
        """Return the timetable of a playbook's wakes; None without `wake`."""
        watched = self.watched.get(name_wake(playbook))
        return None if watched is None else watched.timetable

    def find_drop_reason(self, claim: FiringClaim, now: datetime) -> tuple[str, str] | None:
        """Return result and reason to drop a firing without a run, by a snooze or a due wake; None to run."""
        if claim.wakes is not None:
            return None
        snooze = self.find_snooze(claim.playbook)
        if snooze is not None and snooze.covers(claim.planned, now):
            return "snoozed", "the playbook is snoozed"
        if is_wake_due(self.find_wake(claim.playbook), claim.planned, now):
            return "wake_due", "the wake after this stop is due"
        return None
