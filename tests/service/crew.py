"""Schedulers on several machines in tests: one store, one clock; processes are killed, paused and restarted."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.errors import UsageError
from orchestrator.outcome import Ending
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.postgres.firing_run import FiringRun
from orchestrator.runs.firing import FiringClaim
from orchestrator.service.duty import Term
from orchestrator.service.duty_journal import DutyJournal
from orchestrator.service.duty_runner import DutyRunner
from orchestrator.service.folder import PlaybookFolder, ScanResult
from orchestrator.service.leader import Leader
from orchestrator.service.service import Service
from orchestrator.service.snoozes import FileSnoozeStore
from tests.service.fake_duty import Database, FakeDutyStore
from tests.service.host import Host


def build_run(claim: FiringClaim, loaded: LoadedPlaybook, now: datetime) -> FiringRun:
    """Build the run of a firing; a playbook in several workspaces is refused."""
    if loaded.playbook.workspaces:
        raise UsageError("several workspaces", hint="use one")
    start_before = None if claim.run_once else now + timedelta(minutes=10)
    sha256 = {"sha256": loaded.sha256}
    return FiringRun(claim.run_id, "prod", claim.playbook, claim.planned, sha256, start_before, "serve", 10.0, 5)


@dataclass
class Process:
    """A scheduler's process."""

    leader: Leader
    store: Any
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def leads(self) -> bool:
        """Whether the process itself takes itself for the leader."""
        return self.leader.service is not None

    async def live(self) -> None:
        with self.scope:
            await self.leader()
        self.ended.set()

    async def kill(self) -> None:
        """End the process; nothing more reaches the store."""
        self.store.die()
        self.scope.cancel()
        await self.ended.wait()

    async def stop(self) -> None:
        """End the process like SIGTERM."""
        self.leader.stop(Ending.SIGTERM)
        await self.ended.wait()


class Crew:
    """Machines with one store and one folder of playbooks."""

    def __init__(self, home: Host, *, seed: int = 1, lease: float = 20.0, try_every: float = 2.0) -> None:
        self.home, self.lease, self.try_every = home, lease, try_every
        self.rng = Random(seed)
        self.faults = 0.0
        self.database = Database(home.wall)
        self.processes: dict[str, Process] = {}
        self._group: TaskGroup

    @asynccontextmanager
    async def work(self, *names: str, seconds: float = 30.0) -> AsyncIterator[None]:
        """Start workers and these processes; end everything at the end of the block."""
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self.carry_out_runs, seconds)
            for name in names:
                self.start(name)
            yield
            group.cancel_scope.cancel()

    def open_store(self, name: str) -> Any:  # noqa: ANN401 - a DutyStore that can be paused
        """Open the store for a process."""
        return FakeDutyStore(self.database, name, self.lease, self.rng, faults=self.faults)

    async def carry_out_runs(self, seconds: float) -> None:
        """Carry the runs out, as workers."""
        await self.database.work(self.rng, seconds)

    def start(self, name: str) -> Process:
        """Start a process."""
        store = self.open_store(name)
        folder = PlaybookFolder(self.home.playbooks, self.home.state / name, wall=store.wall)

        async def scan(owners: Mapping[str, str]) -> ScanResult:
            return folder.scan(owners)

        def open_service(term: Term, journal: DutyJournal) -> Service:
            return Service(
                scan=scan,
                snoozes=FileSnoozeStore(self.home.state),
                journal=journal,
                runner=DutyRunner(term, self.build_run, lambda _loaded: False),
                clock=store,
                emit=self._emit(name),
                scan_interval=self.home.scan_interval,
            )

        leader = Leader(
            store=store,
            build_run=self.build_run,
            open_service=open_service,
            emit=self._emit(name),
            lease=self.lease,
            try_every=self.try_every,
        )
        self.processes[name] = process = Process(leader, store)
        self._group.start_soon(process.live)
        return process

    def build_run(self, claim: FiringClaim, loaded: LoadedPlaybook) -> FiringRun:
        return build_run(claim, loaded, self.home.wall.wall())

    def _emit(self, name: str) -> Callable[..., None]:
        def emit(event: str, /, **facts: Any) -> None:  # noqa: ANN401 - fields differ by event
            self.home.emit(event, process=name, **facts)

        return emit

    @property
    def leaders(self) -> list[str]:
        """The processes that take themselves for the leader."""
        return [name for name, process in self.processes.items() if process.leads and not process.ended.is_set()]
