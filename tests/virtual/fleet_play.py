"""A fleet run over several workspaces on virtual time, through faults, deaths and interruptions, and its promises."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import anyio.lowlevel
import trio
from trio.testing import MockClock

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.fleet_store import FileFleetStore
from orchestrator.audit.log import AuditLog, Observer
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRun, FileRunStore
from orchestrator.audit.verify import Reading, Take, Verdict, read_log
from orchestrator.errors import CloudError, NotConfirmedError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.runs.claims import claim_again
from orchestrator.runs.fleet.execute import FleetResult, carry_out_fleet
from orchestrator.runs.fleet.plan import FleetPlan, WorkspaceRequest, plan_fleet
from orchestrator.runs.fleet.resume import ReopenedFleet, plan_fleet_resume, record_fleet_resume, reopen_fleet
from orchestrator.runs.fleet.start import start_fleet
from orchestrator.runs.session import Session
from orchestrator.runs.start import RunRequest
from orchestrator.runs.status import StopRequest
from orchestrator.settings.load import Settings
from orchestrator.settings.model import AuditSection, CloudSection, SettleSection
from orchestrator.settings.workspaces import WorkspaceSection
from orchestrator.simulator.app import Simulator, create_app
from tests.virtual.play import MOST_ATTEMPTS, TIMEOUT, Script, VirtualClock, open_network, open_virtual_session
from tests.virtual.process import Disk, Killer


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetScript(Script):
    """What a fleet run meets with.

    Attributes:
        names: the workspaces; each has `cvms` CVMs.
        first: the canary workspace.
        interruptions: how often a person presses Ctrl-C.
    """

    names: tuple[str, ...] = ("a", "b", "c")
    first: str | None = None
    interruptions: int = 0

    def fleet_playbook(self) -> Playbook:
        """The playbook of every run."""
        fleet = {} if self.first is None else {"first": self.first}
        return Playbook.model_validate({**self.playbook().model_dump(exclude_unset=True), "fleet": fleet})

    def apps(self) -> dict[str, Simulator]:
        """The simulated cloud of every workspace."""
        scripts = {name: replace(self, seed=self.seed * 100 + n) for n, name in enumerate(self.names)}
        return {
            name: create_app(script.world(f"wks_{name}"), clock=trio.current_time) for name, script in scripts.items()
        }


@dataclass(slots=True)
class PlayedFleet:
    """The result of a fleet run, by its logs and by the simulated clouds.

    Attributes:
        script: what it met with.
        folder: the state folder.
        apps: the simulated cloud of every workspace.
        fleet_id: the fleet run.
        exit_code: of the last process.
        deaths: how often the process was killed.
        void: how many fleet runs died before their plan was on record.
        ended_at: seconds of virtual time at the end.
        problems: broken promises.
    """

    script: FleetScript
    folder: Path
    apps: dict[str, Simulator]
    fleet_id: str | None = None
    exit_code: Exit | None = None
    deaths: int = 0
    void: int = 0
    ended_at: float = 0.0
    problems: list[str] = field(default_factory=list)

    def check_promises(self) -> None:
        """Check each CVM for one effective request, each log for wholeness, and both kinds of logs for agreement."""
        assert not self.problems, self.problems[:3]
        assert self.exit_code == Exit.OK
        assert self.fleet_id is not None
        state = FleetState()
        log = self.folder / "fleets" / f"{self.fleet_id}.jsonl"
        assert read_log(log, state.apply_record).verdict is Verdict.WHOLE
        assert state.finished is not None
        assert state.finished.counts == {"settled": self.script.cvms * len(self.apps)}
        ends = {run.workspace: run for run in state.finished.runs}
        assert [(run.workspace, run.run_id) for run in state.runs] == [(n, ends[n].run_id) for n in self.script.names]
        for name, app in self.apps.items():
            run = RunState()
            path = self.folder / "runs" / f"{ends[name].run_id}.jsonl"
            assert read_log(path, run.apply_record).verdict is Verdict.WHOLE
            assert run.finished is not None
            assert (run.started.fleet, run.started.workspace_name) == (self.fleet_id, name)
            assert (run.finished.hash, run.counts) == (ends[name].hash, {"settled": self.script.cvms})
            for cvm in app.world.cvms:
                done = Counter(operation.type for operation in cvm.operations)
                assert sum(done.values()) == 1, (cvm, done)
                assert cvm.phase_at(self.ended_at).status in {"stopped", "running"}


FATAL = (b"run.planned", b"fleet.planned", b"fleet.resumed", b"fleet.finished")
"""Events that a process may die at: they are few, so a random step rarely meets them."""


class _FatalDisk(Disk):
    """The writing of a log by a process that dies at one event: before, in the middle of, or after its write."""

    def __init__(self, disks: "_Disks", rng: Random) -> None:
        super().__init__(rng)
        self._disks = disks

    async def write(self, write: Callable[[], None]) -> None:
        """Write a batch of lines, or die."""
        data: bytes = getattr(write, "data", b"")
        is_fatal = self._disks.is_fatal(data) and not self.is_dead
        if is_fatal and self._rng.random() < 0.7:
            self._half_written = data
            self._disks.die_now()
        await super().write(write)
        if is_fatal:
            self._disks.die_now()
            await anyio.lowlevel.checkpoint()


class _Disks:
    """The disk of one process: the writing of all its logs.

    Attributes:
        by_log: the writing of each log.
        fatal: the event that the process dies at; None for no such event.
        die_now: ends the process.
    """

    def __init__(self, rng: Random) -> None:
        self.by_log: dict[Path, Disk] = {}
        self.fatal: bytes | None = None
        self.die_now: Callable[[], None] = lambda: None
        self._rng = rng

    def open(self, path: Path) -> Disk:
        """The writing of a log."""
        return self.by_log.setdefault(path, _FatalDisk(self, self._rng))

    def is_fatal(self, data: bytes) -> bool:
        """Check lines for the event that the process dies at."""
        return self.fatal is not None and b'"event":"%s"' % self.fatal in data

    def create(
        self, path: Path, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer]
    ) -> AuditLog:
        """Begin a log; a dead process begins none, and some processes die after it."""
        disk = self.open(path)
        if disk.is_dead or any(each.is_dead for each in self.by_log.values()):
            raise CloudError("this process is dead")
        log = AuditLog.create(path, run_id, first, observers=observers, wall=VirtualClock().wall, sync=disk.write)
        if self.is_fatal(path.read_bytes()) and self._rng.random() < 0.5:
            self.die_now()
        return log

    def die(self) -> None:
        """Leave a part of every write that was under way."""
        for path, disk in self.by_log.items():
            disk.die(path)

    def is_announced(self, keys: Counter[str]) -> bool:
        """Check requests for an intent on disk."""
        announced = sum((disk.announced for disk in self.by_log.values()), Counter[str]())
        return all(announced[key] >= number for key, number in keys.items())


class _Run(FileRun):
    """A log on the disk of a process."""

    def __init__(self, path: Path, disks: _Disks) -> None:
        super().__init__(path)
        self._disks = disks

    def open_log(self, take: Take) -> tuple[AuditLog, Reading]:
        return AuditLog.reopen(self.path, take, wall=VirtualClock().wall, sync=self._disks.open(self.path).write)


class _RunStore(FileRunStore):
    """The runs on the disk of a process."""

    def __init__(self, folder: Path, disks: _Disks) -> None:
        super().__init__(folder)
        self._disks = disks

    def get_run(self, run_id: str) -> _Run:
        return _Run(self.path_of(run_id), self._disks)

    def create_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        return self._disks.create(self.path_of(run_id), run_id, first, observers)


class _FleetStore(FileFleetStore):
    """The fleet logs on the disk of a process."""

    def __init__(self, played: PlayedFleet, disks: _Disks) -> None:
        super().__init__(played.folder)
        self._played, self._disks = played, disks

    def get_fleet(self, fleet_id: str) -> _Run:
        return _Run(self._path_of(fleet_id), self._disks)

    def create_log(
        self, fleet_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        self._played.fleet_id = fleet_id
        return self._disks.create(self._path_of(fleet_id), fleet_id, first, observers)


def play_fleet(script: FleetScript, folder: Path) -> PlayedFleet:
    """Carry a fleet run out on virtual time, again and again until its end."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(script.seed)
    killer = Killer()
    options = {"clock": MockClock(autojump_threshold=0), "instruments": [killer]}
    return anyio.run(partial(_play, script, folder, killer), backend="trio", backend_options=options)


async def _play(script: FleetScript, folder: Path, killer: Killer) -> PlayedFleet:
    rng = Random(script.seed)
    played = PlayedFleet(script, folder, script.apps())
    for app in played.apps.values():
        app.now()
    interruptions = script.interruptions
    async with anyio.create_task_group() as servers:
        for _ in range(MOST_ATTEMPTS):
            process = _FleetProcess(played, servers, rng)
            with trio.CancelScope() as life:
                lives = rng.randint(1, script.steps) if played.deaths < script.deaths else None
                killer.arm(lives, partial(process.die, life))
                if lives is not None and rng.random() < 0.5:
                    process.die_at(rng.choice(FATAL), life)
                if interruptions and rng.random() < 0.5:
                    interruptions -= 1
                    servers.start_soon(process.interrupt, rng.uniform(0.0, 3.0))
                result = await process.live()
            killer.arm(None, lambda: None)
            process.check()
            if process.is_dead:
                played.deaths += 1
            elif result is not None:
                played.exit_code = result.exit_code
                if result.has_finished:
                    break
        servers.cancel_scope.cancel()
    played.ended_at = max(app.now() for app in played.apps.values())
    return played


class _FleetProcess:
    """One `orchestrator run`, or `orchestrator resume FLEET_ID`.

    Attributes:
        is_dead: whether the process was killed.
    """

    def __init__(self, played: PlayedFleet, servers: anyio.abc.TaskGroup, rng: Random) -> None:
        self.is_dead = False
        self._played, self._rng, self._stop = played, rng, StopRequest()
        self._networks = {name: open_network(app, servers, rng) for name, app in played.apps.items()}
        self._disks = _Disks(rng)
        self._runs, self._fleets = _RunStore(played.folder, self._disks), _FleetStore(played, self._disks)

    async def interrupt(self, after: float) -> None:
        """Press Ctrl-C after some seconds."""
        await anyio.sleep(after)
        self._stop.request_end(Ending.SIGINT)

    def die(self, life: trio.CancelScope) -> None:
        """End at once: nothing is sent, heard or written from here on. A second call does nothing."""
        if self.is_dead:
            return
        self.is_dead = True
        for network in self._networks.values():
            network.is_dead = True
        self._disks.die()
        life.cancel()

    def die_at(self, event: bytes, life: trio.CancelScope) -> None:
        """End at this event, unless the process ends before."""
        self._disks.fatal, self._disks.die_now = event, partial(self.die, life)

    def check(self) -> None:
        """Check the requests of this process for intents on its disk."""
        sent = sum((network.sent for network in self._networks.values()), Counter[str]())
        if not self._disks.is_announced(sent):
            self._played.problems.append("a request was sent without an intent")

    async def live(self) -> FleetResult | None:
        """Begin the fleet run, or go on with it; None after a death, or where a cloud could not be read."""
        try:
            if self._played.fleet_id is None:
                return await self._run()
            with reopen_fleet(self._fleets.get_fleet(self._played.fleet_id), self._runs) as reopened:
                finished = reopened.state.finished
                if finished is not None:  # the death came after the last record
                    return FleetResult(Exit(finished.exit_code), Ending.COMPLETED, (), has_finished=True)
                return await self._resume(reopened)
        except CloudError:
            return None
        except NotConfirmedError:  # the death came before the plan was on record
            self._played.void += 1
            self._played.fleet_id = None
            if any(cvm.operations for app in self._played.apps.values() for cvm in app.world.cvms):
                self._played.problems.append("a request was sent before the plan was on record")
            return None

    def _session(self, name: str) -> Session:
        script, folder = self._played.script, self._played.folder
        sections = {each: WorkspaceSection(api_key_env=f"KEY_{each}") for each in script.names}
        settings = Settings(
            settle=SettleSection(recheck_after=2.0),
            cloud=CloudSection(timeout=TIMEOUT),
            audit=AuditSection(state_dir=folder),
            workspaces=sections,
        )
        return open_virtual_session(
            self._played.apps[name],
            self._networks[name],
            script.limits(),
            rng=self._rng,
            store=self._runs,
            settings=settings.for_workspace(name),
            key=f"key-{name}",
        )

    async def _run(self) -> FleetResult:
        script = self._played.script
        loaded = LoadedPlaybook(script.fleet_playbook(), Path("all.yaml"), "0" * 64, b"", {})
        requests = [
            WorkspaceRequest(name, self._session(name), RunRequest(loaded, script.limits())) for name in script.names
        ]
        plan = await plan_fleet(loaded, requests, base_guards=Guards())
        return await carry_out_fleet(await start_fleet(self._fleets, plan, _agree), self._stop)

    async def _resume(self, reopened: ReopenedFleet) -> FleetResult:
        with ExitStack() as claimed:
            sessions = {name: self._session(name) for name in reopened.open_runs}
            applied = {name: run.apply_settings(sessions[name].settings) for name, run in reopened.open_runs.items()}
            claims = {
                name: claimed.enter_context(claim_again(sessions[name].claims, run.state, ignore_running=False))
                for name, run in reopened.open_runs.items()
            }
            plan = await plan_fleet_resume(reopened, sessions, applied, claims)
            return await carry_out_fleet(await record_fleet_resume(plan), self._stop)


async def _agree(_: FleetPlan) -> bool:
    return True
