"""The machine of the service in tests: a folder, a state folder, a settable clock, and no cloud.

A process can be started, killed at any moment, and restarted; the disk and the requests to the cloud stay.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio

from orchestrator.audit.fleet_store import is_fleet_id
from orchestrator.audit.log import write_inline
from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schema import Guards
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, State, StopRequest
from orchestrator.service.folder import PlaybookFolder, ScanResult
from orchestrator.service.journal import FileJournalStore
from orchestrator.service.protocols import KeepSource
from orchestrator.service.scheduler import Snooze, Snoozed
from orchestrator.service.service import Service
from orchestrator.service.snoozes import FileSnoozeStore
from orchestrator.times import timestamp

MONDAY = datetime(2027, 3, 1, tzinfo=UTC)


class KilledError(BaseException):
    """Raised to kill the process."""


class Wall:
    """A settable time of day on the event loop's virtual clock."""

    def __init__(self, epoch: datetime) -> None:
        self.epoch = epoch
        self.skew = timedelta()

    def wall(self) -> datetime:
        return self.epoch + self.skew + timedelta(seconds=anyio.current_time())

    def after(self, seconds: float) -> datetime:
        """The time of day after these seconds."""
        return self.wall() + timedelta(seconds=seconds)


@dataclass
class RunOnDisk:
    """The state of a run in its audit log."""

    playbook: str
    planned: str
    begun_at: datetime
    last_at: datetime
    sent: int = 0
    finished: bool = False
    void: bool = False


@dataclass
class World:
    """The state that survives a process: logs, and requests to the cloud."""

    runs: dict[str, RunOnDisk] = field(default_factory=dict)
    actions: Counter[tuple[str, str, int]] = field(default_factory=Counter)

    @property
    def twice(self) -> list[tuple[str, str, int]]:
        """Actions sent more than once for a firing."""
        return [each for each, number in self.actions.items() if number > 1]

    def carried_out(self, playbook: str) -> list[str]:
        """The planned times of the firings with a run, in the order of the runs."""
        return [run.planned for run in self.runs.values() if run.playbook == playbook and not run.void]


class FakeRunner:
    """Carries out a run of three actions, a third of `seconds` apart."""

    actions = 3

    def __init__(self, world: World, wall: Wall, *, seconds: float = 3.0) -> None:
        self.world, self.wall, self.seconds = world, wall, seconds
        self.codes: list[int] = []
        self.dies: Callable[[str], None] = lambda _place: None
        self.order: list[str] = []

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        return len(loaded.playbook.workspaces or ()) > 1

    async def read_status(self, run_id: str) -> RunStatus:
        run = self.world.runs.get(run_id)
        if run is None:
            return RunStatus(State.NOTHING_SENT)
        if run.void:
            return RunStatus(State.VOID)
        if run.finished:
            return RunStatus(State.FINISHED, exit_code=0)
        return RunStatus(State.UNFINISHED, run.last_at)

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: StopRequest) -> Ended:
        assert loaded.playbook.name == claim.line
        assert claim.run_id not in self.world.runs
        assert is_fleet_id(claim.run_id) == self.is_fleet(loaded)
        if self.codes:
            return Ended(self.codes.pop(0), reason="as the test has it")
        with anyio.move_on_after(self.seconds / 10):
            await stop.requested.wait()
            return Ended(143, interrupted=True)
        self.dies("before the log")
        now = self.wall.wall()
        run = RunOnDisk(claim.playbook, timestamp(claim.planned), now, now, void=True)
        self.world.runs[claim.run_id] = run
        self.dies("within the first write")
        run.void = False
        self.dies("after the log")
        return await self._go_on(run, stop)

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        run = self.world.runs[claim.run_id]
        assert not run.finished
        assert not run.void
        return await self._go_on(run, stop)

    async def _go_on(self, run: RunOnDisk, stop: StopRequest) -> Ended:
        self.order.append(run.playbook)
        while run.sent < self.actions:
            with anyio.move_on_after(self.seconds / self.actions):
                await stop.requested.wait()
                return Ended(143, interrupted=True)
            self.dies("before an action")
            self.world.actions[run.playbook, run.planned, run.sent] += 1
            run.sent += 1
            run.last_at = self.wall.wall()
            self.dies("after an action")
        run.finished = True
        self.dies("after the end")
        return Ended(0)


class Host:
    """A machine."""

    def __init__(
        self, folder: Path, *, epoch: datetime = MONDAY, seconds: float = 3.0, scan_interval: float = 900.0
    ) -> None:
        self.playbooks = folder / "playbooks"
        self.playbooks.mkdir()
        self.state = folder / "state"
        self.wall = Wall(epoch)
        self.world = World()
        self.scan_interval = scan_interval
        self.look_takes = 0.0
        self.seconds = seconds
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.runner = FakeRunner(self.world, self.wall, seconds=seconds)
        self.sync: Callable[[Callable[[], None]], Awaitable[None]] = write_inline
        self.service: Service
        self.keeps: KeepSource | None = None
        self.guards: Guards | None = None
        self.left: int | None = None
        self.ended: anyio.Event

    def write(self, name: str, *, file: str | None = None, more: str = "", **schedule: object) -> Path:
        """Write a playbook."""
        keys = "".join(f'  {key}: "{value}"\n' for key, value in schedule.items())
        path = self.playbooks / (file or f"{name}.yaml")
        text = f"name: {name}\n" + (f"schedule:\n{keys}" if keys else "")
        path.write_text(f"{text}{more}steps:\n  - {{action: stop, select: {{name: ['dev-*']}}}}\n")
        return path

    def snooze(self, name: str, begins: datetime, until: datetime) -> None:
        FileSnoozeStore(self.state).set_snooze(name, Snoozed(Snooze(begins, until), "me@here"))

    def emit(self, event: str, /, **facts: object) -> None:
        self.told.append((event, facts))

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The facts of these events."""
        return [facts for event, facts in self.told if event in names]

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Service]:
        """A process, killed at the end of the block."""
        journal = FileJournalStore(self.state, wall=self.wall.wall, sync=self.sync).open_journal()
        kept = self.state / "service" / "kept"
        folder = PlaybookFolder(self.playbooks, kept, wall=self.wall.wall, guards=self.guards)

        async def scan(owners: Mapping[str, str]) -> ScanResult:
            await anyio.sleep(self.look_takes)
            return folder.scan(owners)

        self.service = Service(
            scan=scan,
            snoozes=FileSnoozeStore(self.state),
            journal=journal,
            runner=self.runner,
            clock=self.wall,
            emit=self.emit,
            scan_interval=self.scan_interval,
            keeps=self.keeps,
        )
        self.left, self.ended = None, anyio.Event()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._live)
                yield self.service
                group.cancel_scope.cancel()
        finally:
            journal.close()

    async def _live(self) -> None:
        self.left = await self.service()
        self.ended.set()

    async def stop(self, ending: Ending = Ending.SIGTERM) -> None:
        """Stop the service like SIGTERM, and wait for its end."""
        self.service.stop(ending)
        await self.ended.wait()

    async def until(self, moment: datetime) -> None:
        """Let time pass."""
        await anyio.sleep((moment - self.wall.wall()).total_seconds())
