"""The pushed playbooks and the snoozes of the team store, followed by the leader of the schedules."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from orchestrator.errors import OrchestratorError
from orchestrator.playbook.schema import Guards
from orchestrator.postgres.link import Query
from orchestrator.postgres.playbooks import PushedFolder, read_changed, read_snoozes
from orchestrator.service.duty import Term
from orchestrator.service.folder import PlaybookFolder, ScanResult
from orchestrator.service.protocols import EventSink
from orchestrator.service.scheduler import Snoozed
from orchestrator.service.team_stores import convert_snoozes, write_folder


class PushedPlaybooks:
    """Reads pushes and snoozes during a term: a scan for the registry, and the snoozes of the last scan.

    Every push is checked before; the copies on this machine are read as any folder of playbooks.
    """

    def __init__(self, query: Query, term: Term, pushed: Path, kept: Path, *, guards: Guards, emit: EventSink) -> None:
        """Set up.

        Args:
            query: executes a statement.
            term: the term; ends when the store can't be read.
            pushed: the folder for copies of the pushed playbooks.
            kept: the folder for copies of the last valid versions.
            guards: the guards of the settings.
            emit: receives all events.
        """
        self._query, self._term, self._pushed, self._emit = query, term, pushed, emit
        self._folder = PlaybookFolder(pushed, kept, wall=term.store.wall, guards=guards)
        self._push = -1
        self._snoozes: Mapping[str, Snoozed] = {}

    async def scan(self, owners: Mapping[str, str]) -> ScanResult:
        """Read the snoozes and the last push, then scan the copies.

        Raises:
            OSError: when the copies can't be written or read.
        """
        try:
            changed = await read_changed(self._query, self._push)
            self._snoozes = convert_snoozes(await read_snoozes(self._query))
        except OrchestratorError as error:
            self._term.step_down(f"the playbooks can't be read: {error}")
            await self._term.wait_for_end()
            raise
        if changed is not None:
            await self._accept(changed)
        try:
            return await anyio.to_thread.run_sync(self._folder.scan, owners, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            self._folder.stop()
            raise

    async def _accept(self, changed: PushedFolder) -> None:
        await anyio.to_thread.run_sync(partial(write_folder, changed, self._pushed))
        self._push = changed.push
        if not changed.playbooks:
            note = "the team store has no playbooks; push a folder: orchestrator playbooks push DIR"
            self._emit("service.no_playbooks", note=note)

    def read_snoozes(self) -> Mapping[str, Snoozed]:
        """Return the snoozes of the last scan, as `SnoozeReader.read_snoozes`."""
        return self._snoozes
