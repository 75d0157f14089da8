"""One fleet run on virtual time, through faults and deaths, and the promises that the run is held to."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import trio
from trio.testing import MockClock

from orchestrator.action import Action
from orchestrator.audit.claims import FileClaimStore
from orchestrator.audit.log import AuditLog
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRun, FileRunStore
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.billing.rates import STORAGE_USD_PER_GB_HOUR
from orchestrator.engine.job import Job
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.engine.result import RunResult
from orchestrator.errors import CloudError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.schema import Guards, Playbook
from orchestrator.playbook.value_types import Dispatch
from orchestrator.rehearsal.network import Network
from orchestrator.rehearsal.process import ADDRESS, make_session
from orchestrator.runs.api_profile import FileApiProfileStore
from orchestrator.runs.execute import prepare_run
from orchestrator.runs.fresh_status import read_open_statuses
from orchestrator.runs.records import planned_fields, rebuild_jobs, steps_from
from orchestrator.runs.resume import record_resume
from orchestrator.runs.session import Endpoint, RunObserver, Session
from orchestrator.runs.start import OpenRun
from orchestrator.settings.load import Settings
from orchestrator.settings.model import CloudSection, SettleSection
from orchestrator.simulator.app import Simulator, create_app
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.world import DEFAULT_EPOCH, World
from tests.virtual.process import Disk, Killer, kill

RUN_ID = "20260115T120000Z-4f2a"
TIMEOUT = 10.0
MOST_ATTEMPTS = 40
"""How often a command is typed again after a death, or after the API could not be read."""


class VirtualClock:
    """The clocks of a process: the event loop's, and a time of day to go with it."""

    def now(self) -> float:
        """Seconds of virtual time."""
        return trio.current_time()

    def wall(self) -> datetime:
        """The virtual time of day."""
        return DEFAULT_EPOCH + timedelta(seconds=trio.current_time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a run meets with.

    Attributes:
        seed: decides everything that is left open.
        cvms: the size of the fleet.
        action: what is done to each CVM.
        dispatch: one request a CVM, or batches.
        escalate_after: seconds after which a CVM that does not shut down is stopped.
        faults: what the API does, as `[faults]` of the simulator's configuration.
        deaths: how often the process is killed.
        steps: a process that is killed lives for up to this many steps of its tasks.
    """

    seed: int
    cvms: int = 300
    action: Action = Action.STOP
    dispatch: Dispatch = "single"
    escalate_after: float | None = None
    faults: dict[str, object] = field(default_factory=dict)
    deaths: int = 0
    steps: int = 12_000

    def world(self, workspace: str = "wks_simulated") -> World:
        """The simulated cloud that a run meets."""
        slowest = 4.0 if self.escalate_after is None else 3 * self.escalate_after
        world = World.generate(
            settings=parse_settings(
                {
                    "fleet": {"cvms": self.cvms, "seed": self.seed, "stopped_share": 0, "gpu_share": 0},
                    "workspace": {"id": workspace},
                    "timing": {
                        "stop_seconds": [0.5, 4.0],
                        "start_seconds": [0.5, 4.0],
                        "shutdown_seconds": [0.5, slowest],
                        "read_lag": 0.5,
                    },
                    "faults": {"hang_seconds": 15, "huge_bytes": 100_000, "retry_after_seconds": 1, **self.faults},
                }
            )
        )
        if self.action is Action.START:
            for cvm in world.cvms:
                world.set_status(cvm, "stopped", -10.0)
        return world

    def playbook(self) -> Playbook:
        """The playbook of the run."""
        escalate = {} if self.escalate_after is None else {"escalate": {"after": self.escalate_after}}
        select = {"all": True}
        step = {"action": self.action.value, "select": select, "settle": {"timeout": "10m"}, **escalate}
        return Playbook.model_validate({"name": "all", "steps": [step]})

    def limits(self) -> RunLimits:
        """The rate limit and the width of the run."""
        return RunLimits(requests_per_second=100, burst=10, max_in_flight=20, per_teepod=20, dispatch=self.dispatch)


@dataclass(slots=True)
class Played:
    """The result of a run, by its log and by the simulated cloud.

    Attributes:
        script: what it met with.
        app: the simulated cloud.
        log: the audit log.
        exit_code: of the last process.
        deaths: how often the process was killed.
        steps: how many steps all processes took.
        ended_at: seconds of virtual time at the end.
        problems: requests that were sent without a durable intent.
    """

    script: Script
    app: Simulator
    log: Path
    exit_code: Exit | None = None
    deaths: int = 0
    steps: int = 0
    ended_at: float = 0.0
    problems: list[str] = field(default_factory=list)

    def check_promises(self) -> RunState:
        """Check that each CVM had one effective request, that each request had an intent, and that the log is whole."""
        state = RunState()
        assert read_log(self.log, state.apply_record).verdict is Verdict.WHOLE
        assert not self.problems, self.problems[:3]
        assert self.exit_code == Exit.OK
        assert state.counts == {"settled": self.script.cvms}
        wanted = {"running"} if self.script.action.leaves_running else {"stopped", "exited"}
        escalated = {target.ref.id for target in state.targets.values() if target.escalated_at}
        for cvm in self.app.world.cvms:
            assert cvm.phase_at(self.ended_at).status in wanted, cvm
            done = Counter(operation.type for operation in cvm.operations)
            assert max(done.values()) == 1, (cvm, done)
            assert len(done) == 1 or cvm.hashid in escalated, (cvm, done)
        return state


def play(script: Script, folder: Path) -> Played:
    """Carry a run out on virtual time. The same script gives the same bytes of log, wherever it is played."""
    # trio shuffles tasks that are ready. With this switch, which hypothesis uses as well, the seed decides the order.
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio._core._run._r.seed(script.seed)
    killer = Killer()
    options = {"clock": MockClock(autojump_threshold=0), "instruments": [killer]}
    return anyio.run(partial(_play, script, folder, killer), backend="trio", backend_options=options)


async def _play(script: Script, folder: Path, killer: Killer) -> Played:
    rng = Random(script.seed)
    app = create_app(script.world(), clock=trio.current_time)
    app.now()
    played = Played(script, app, folder / f"{RUN_ID}.jsonl")
    async with anyio.create_task_group() as servers:
        for _ in range(MOST_ATTEMPTS):
            process = _Process(played, servers, rng)
            with trio.CancelScope() as life:
                lives = rng.randint(1, script.steps) if played.deaths < script.deaths else None
                killer.arm(lives, partial(kill, process.network, process.disk, played.log, life))
                result = await process.live()
            killer.arm(None, lambda: None)
            played.problems += process.problems()
            if process.network.is_dead:
                played.deaths += 1
            elif result is not None:
                played.exit_code = result.exit_code
                if not result.ending.resumable:
                    break
        servers.cancel_scope.cancel()
    played.steps, played.ended_at = killer.steps, app.now()
    return played


def open_virtual_session(
    app: Simulator,
    network: Network,
    limits: RunLimits,
    *,
    rng: Random,
    store: FileRunStore,
    settings: Settings,
    key: str,
) -> Session:
    """A session with a simulated cloud, over a network that dies with its process."""
    return make_session(
        network,
        app.world.api_key,
        endpoint=Endpoint(ADDRESS, key, simulated=True),
        settings=settings,
        limits=limits,
        clock=VirtualClock(),
        rng=rng,
        store=store,
        claims=FileClaimStore(store),
        profiles=FileApiProfileStore(store.folder.parent, print),
    )


def open_network(app: Simulator, servers: anyio.abc.TaskGroup, rng: Random) -> Network:
    """A network on which every request takes another time."""
    return Network(app, servers, lambda: rng.uniform(0.0, 0.02))


class _Process:
    """One `orchestrator run` or `orchestrator resume`."""

    def __init__(self, played: Played, servers: anyio.abc.TaskGroup, rng: Random) -> None:
        self.network, self.disk = open_network(played.app, servers, rng), Disk(rng)
        self._played, self._rng, self._clock = played, rng, VirtualClock()
        self._log: AuditLog | None = None

    async def live(self) -> RunResult | None:
        """Begin the run, or go on with it; None where the API could not be read or the process was killed."""
        session = open_virtual_session(
            self._played.app,
            self.network,
            self._played.script.limits(),
            rng=self._rng,
            store=FileRunStore(self._played.log.parent),
            settings=Settings(settle=SettleSection(recheck_after=2.0), cloud=CloudSection(timeout=TIMEOUT)),
            key="key",
        )
        try:
            return await (self._resume(session) if self._played.log.exists() else self._run(session))
        except CloudError:
            return None
        finally:
            if self._log is not None:
                self._log.close()

    def problems(self) -> list[str]:
        """The requests that this process sent without an intent on its disk."""
        sent, announced = self.network.sent, self.disk.announced
        return [f"{key}: {sent[key]} sent, {announced[key]} announced" for key in sent if sent[key] > announced[key]]

    async def _run(self, session: Session) -> RunResult:
        script = self._played.script
        inventory = await InventoryReader(session.cloud, session.gate, self._rng).read_all()
        plan = make_plan(
            script.playbook(),
            inventory.cvms,
            guards=Guards(),
            limits=session.limits,
            settle_timeout=600,
            price_list={},
            storage_usd_per_gb_hour=STORAGE_USD_PER_GB_HOUR,
            batch_size=1000,
        )
        state = RunState()
        first: list[tuple[str, dict[str, object]]] = [
            ("run.started", {"playbook": {"name": "all"}}),
            ("run.planned", planned_fields(plan, len(inventory.cvms))),
        ]
        self._log = AuditLog.create(
            self._played.log, RUN_ID, first, observers=[state.apply_record], wall=self._clock.wall, sync=self.disk.write
        )
        jobs = [Job.from_target(target) for target in plan.targets]
        run = prepare_run(
            session, OpenRun(FileRun(self._played.log), self._log, state, jobs, plan.steps, len(inventory.cvms))
        )
        return await run(plan.steps)

    async def _resume(self, session: Session) -> RunResult:
        state = RunState()
        self._log, reading = AuditLog.reopen(
            self._played.log, state.apply_record, wall=self._clock.wall, sync=self.disk.write
        )
        if state.finished is not None:
            return RunResult(Ending(state.finished.ending or Ending.COMPLETED), Exit(state.finished.exit_code))
        jobs = rebuild_jobs(state, now=self._clock.now(), wall=self._clock.wall())
        size = state.planned.workspace_size
        fresh = await read_open_statuses(session, jobs, size)
        await record_resume(self._log, reading, state, jobs, RunObserver())
        steps = steps_from(state.planned.steps)
        run = prepare_run(session, OpenRun(FileRun(self._played.log), self._log, state, jobs, steps, size))
        run.apply_statuses(fresh)
        return await run(steps)
