"""An office in tests: `serve` with real runs against a simulated cloud on virtual time, kills, and a person.

The reckoning knows only the operations of the cloud, and the operations of the person: not the logs.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.abc

from orchestrator.audit.claims import FileClaimStore
from orchestrator.audit.log import write_inline
from orchestrator.history.entry import read_entry
from orchestrator.history.saved import add_up_savings
from orchestrator.playbook.keep import KeepEntry
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.rehearsal.network import Network
from orchestrator.rehearsal.process import ADDRESS, LogDisk, NoProfileStore, RehearsedRunStore, make_session
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.fleet.unattended import UnattendedFleetRunner
from orchestrator.runs.session import Endpoint, RunObserver, Session, SystemClock
from orchestrator.runs.unattended import UnattendedRunner
from orchestrator.service.folder import PlaybookFolder, ScanResult
from orchestrator.service.journal import FileJournalStore
from orchestrator.service.service import Service
from orchestrator.service.snoozes import FileSnoozeStore
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection
from orchestrator.simulator.actions import begin_start, begin_stop
from orchestrator.simulator.app import Simulator, create_app
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.timeline import CvmPhase, Operation
from orchestrator.simulator.world import World
from orchestrator.times import parse_timestamp

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DOWN = frozenset({"stopped", "exited"})


@dataclass
class RunLog:
    """A run by its log.

    Attributes:
        playbook: the playbook; for a wake, the playbook to wake.
        is_wake: whether the run is a wake.
        planned: the planned time of the firing.
        begin: time of the first record.
        end: time of the last record.
        skipped: by name, the code of each skipped CVM.
    """

    playbook: str
    is_wake: bool
    planned: datetime
    begin: datetime
    end: datetime
    skipped: Mapping[str, str] = field(default_factory=dict)


class OfficeRunner(UnattendedRunner):
    """The runner of `serve`, with a connection to the simulated cloud of the office."""

    def __init__(self, settings: Settings, office: "Office", network: Network, disk: LogDisk) -> None:
        def observe(_claim: FiringClaim, _workspace: str | None) -> RunObserver:
            return RunObserver()

        super().__init__(settings, observe, UnattendedFleetRunner(settings, observe))
        self._office, self._network = office, network
        self._store = RehearsedRunStore(office.state, disk, office.wall)
        self._claims = FileClaimStore(self._store)

    @asynccontextmanager
    async def _open_session(
        self, claim: FiringClaim, settings: Settings, limits: RunLimits, cloud_url: str | None = None
    ) -> AsyncIterator[Session]:
        del claim, cloud_url
        office = self._office
        yield make_session(
            self._network,
            office.world.api_key,
            endpoint=Endpoint(ADDRESS, office.world.api_key),
            settings=settings,
            limits=limits,
            clock=SystemClock(office.wall),
            rng=office.rng,
            store=self._store,
            claims=self._claims,
            profiles=NoProfileStore(),
            exemptions=office.exemptions,
        )


class Office:
    """A machine with `serve`, a simulated cloud, and a person with the vendor's tools."""

    def __init__(self, folder: Path, epoch: datetime, names: Sequence[str], *, seed: int) -> None:
        self.playbooks, self.state = folder / "playbooks", folder / "state"
        self.playbooks.mkdir()
        self.epoch, self.rng = epoch, Random(seed)
        timing = {"stop_seconds": [5, 40], "start_seconds": [10, 60]}
        fleet = {"cvms": len(names), "seed": seed, "names": list(names), "stopped_share": 0, "gpu_share": 0}
        self.world = World.generate(settings=parse_settings({"fleet": fleet, "timing": timing}), epoch=epoch)
        self.exemptions: tuple[KeepEntry, ...] = ()
        self.by_person: set[str] = set()
        self.lives: list[tuple[datetime, datetime]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.app: Simulator
        self._servers: anyio.abc.TaskGroup

    def wall(self) -> datetime:
        """The time of day: of the machine, of the cloud, and of the person."""
        return self.epoch + timedelta(seconds=anyio.current_time())

    def write(self, name: str, text: str) -> None:
        """Write a playbook that stops the CVMs with its name and a number."""
        limits = "limits: {requests_per_second: 20, burst: 20}"
        step = f"steps: [{{action: stop, select: {{name: ['{name}-*']}}}}]"
        (self.playbooks / f"{name}.yaml").write_text(f"name: {name}\n{text}\n{limits}\n{step}\n")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Open the cloud for the length of the block."""
        self.app = create_app(self.world, clock=anyio.current_time)
        self.app.now()
        async with anyio.create_task_group() as self._servers:
            yield
            self._servers.cancel_scope.cancel()

    async def serve(self, until: datetime) -> None:
        """Run `serve` until a moment, then kill the process: nothing more leaves the process."""
        born = self.wall()
        network, disk = Network(self.app, self._servers, lambda: self.rng.uniform(0.0, 0.2)), LogDisk()
        journal = FileJournalStore(self.state, wall=self.wall, sync=write_inline).open_journal()
        folder = PlaybookFolder(self.playbooks, self.state / "service" / "kept", wall=self.wall)

        async def scan(owners: Mapping[str, str]) -> ScanResult:
            return folder.scan(owners)

        settings = Settings(audit=AuditSection(state_dir=self.state))
        service = Service(
            scan=scan,
            snoozes=FileSnoozeStore(self.state),
            journal=journal,
            runner=OfficeRunner(settings, self, network, disk),
            clock=SystemClock(self.wall),
            emit=lambda event, /, **facts: self.events.append((event, facts)),
            scan_interval=6 * 3600.0,
        )
        try:
            with anyio.move_on_after((until - born).total_seconds()):
                await service()
            network.is_dead = disk.is_dead = True
        finally:
            journal.close()
        self.lives.append((born, self.wall()))

    async def live(self, until: datetime, *, kills: int) -> None:
        """Run and kill processes, with breaks of up to some hours."""
        moments = sorted(self.wall() + self.rng.random() * (until - self.wall()) for _ in range(kills))
        for moment in [*moments, until]:
            if moment > self.wall():
                await self.serve(moment)
                await anyio.sleep(self.rng.choice([5, 90, 1800, 5 * 3600]) * self.rng.random())

    # The person ------------------------------------------------------------------------------------------------------

    async def play_person(self, until: datetime, every: timedelta) -> None:
        """Start and stop CVMs at random with the vendor's tools."""
        while True:
            await anyio.sleep(self.rng.random() * 2 * every.total_seconds())
            if self.wall() > until:
                return
            cvm = self.rng.choice(self.world.cvms)
            self.act(cvm)
            if self.rng.random() < 0.5:  # back again
                await anyio.sleep(900)
                self.act(cvm)

    def act(self, cvm: SimulatedCvm) -> None:
        """Start a stopped CVM, or stop a running CVM, as the person."""
        phase, now = cvm.phase_at(self.app.now()), self.app.now()
        if phase.in_progress:
            return
        before = len(cvm.operations)
        (begin_start if phase.status in DOWN else begin_stop)(self.world, cvm, now)
        self.by_person |= {each.correlation_id for each in cvm.operations[before:]}

    # The reckoning ---------------------------------------------------------------------------------------------------

    def read_runs(self) -> list[RunLog]:
        """Read the logs with a plan, oldest first."""
        return sorted(self._list_runs(), key=lambda run: run.begin)

    def _list_runs(self) -> Iterator[RunLog]:
        for path in (self.state / "runs").glob("*.jsonl"):
            records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            if len(records) < 2:
                continue
            start, plan, *_ = records
            wakes = start.get("wakes")
            yield RunLog(
                wakes["playbook"] if wakes else start["playbook"]["name"],
                bool(wakes),
                parse_timestamp(start["trigger"]["planned"]),
                parse_timestamp(start["ts"]),
                parse_timestamp(records[-1]["ts"]),
                {each["cvm"]["name"]: each["code"] for each in plan["skipped"]},
            )

    def moment_of(self, operation: Operation) -> datetime:
        """The time of day of an operation."""
        return self.world.calendar_time(operation.started)

    def is_owed(self, cvm: SimulatedCvm, at: datetime) -> bool:
        """Reckon from the operations alone whether a wake has to start a CVM: the last operation is a stop of ours."""
        before = [each for each in cvm.operations if self.moment_of(each) < at]
        last = before[-1] if before else None
        return last is not None and last.type == "power_off" and last.correlation_id not in self.by_person

    def check_wake(self, run: RunLog) -> None:
        """Compare the starts of a wake with the reckoning; CVMs of the person's operations meanwhile may differ."""
        for cvm in (each for each in self.world.cvms if each.name.startswith(f"{run.playbook}-")):
            within = [each for each in cvm.operations if run.begin - MINUTE <= self.moment_of(each) <= run.end + MINUTE]
            if any(each.correlation_id in self.by_person for each in within):
                continue
            started = [each for each in within if each.type == "power_on"]
            expected = self.is_owed(cvm, run.begin)
            assert len(started) == expected, (cvm.name, run, [(self.moment_of(o), o.type) for o in cvm.operations[-6:]])

    def check_operations(self, runs: Sequence[RunLog]) -> None:
        """Check that all starts are of wakes, and all stops of stops, within the time of their run."""
        for cvm in self.world.cvms:
            for each in cvm.operations:
                if each.correlation_id in self.by_person:
                    continue
                at, is_start = self.moment_of(each), each.type == "power_on"
                assert any(
                    run.is_wake == is_start
                    and cvm.name.startswith(f"{run.playbook}-")
                    and run.begin <= at <= run.end + MINUTE
                    for run in runs
                ), (cvm.name, at, each.type)

    def count_savings(self, end: datetime) -> tuple[Decimal, Decimal]:
        """Add up the compute saved by the logs, and by the phases of the cloud, in US dollars."""
        runs = RehearsedRunStore(self.state, LogDisk(), lambda: end).list_runs()
        entries = [(run, read_entry(run)) for run in runs]
        report = add_up_savings(entries, "playbook", self.epoch, end, simulated=True)
        saved = Decimal(0)
        last = (end - self.epoch).total_seconds()
        for cvm in self.world.cvms:
            phases = [*(phase for phase in cvm.timeline if phase.at <= last), CvmPhase(last, "end")]
            for phase, following in pairwise(phases):
                if not phase.metered and phase.at > 0:
                    saved += Decimal(following.at - phase.at) / 3600 * cvm.compute_rate
        return report.together.compute.usd, saved

    def was_alive(self, moment: datetime, span: timedelta) -> bool:
        """Check that one process lived from before a moment until a time after."""
        return any(born + MINUTE < moment and moment + span < died for born, died in self.lives)
