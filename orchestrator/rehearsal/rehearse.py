"""Carry a playbook out in a rehearsal: start, deaths, resumes, and the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Literal

import anyio
import anyio.abc

from orchestrator.audit.replay import RunState
from orchestrator.engine.protocols import Answer
from orchestrator.engine.read.inventory import Inventory, InventoryReader
from orchestrator.errors import CloudError, DriftedError, GuardError, KeyRefusedError, OrchestratorError
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.guards import merge_guards
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.narrowing import Narrowing
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.rehearsal.faults import NO_FAULTS, FaultFile
from orchestrator.rehearsal.fleet import Fleet
from orchestrator.rehearsal.network import Network
from orchestrator.rehearsal.process import (
    LogDisk,
    NoClaim,
    NoClaimStore,
    NoProfileStore,
    RehearsedRunStore,
    make_session,
)
from orchestrator.rehearsal.virtual_time import run_on_virtual_time
from orchestrator.runs.api_profile import ApiProfile
from orchestrator.runs.execute import carry_to_end, prepare_run
from orchestrator.runs.prepare import NO_OVERRIDES, Overrides, read_selected
from orchestrator.runs.resume import reopen_run
from orchestrator.runs.session import Endpoint, Session, SystemClock
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.settings.load import Settings
from orchestrator.settings.model import ApprovalSection, NotifySection
from orchestrator.simulator.app import Simulator, create_app
from orchestrator.simulator.settings import LimitSettings, SimulatorSettings, TimingSettings, parse_settings

AnswerOption = Literal["yes", "no", "none"]
"""The answer to every question; `none` lets the question time out."""

CHANGING = frozenset({"stop_cvm", "shutdown_cvm", "start_cvm", "restart_cvm", "batch_stop"})
"""The operations of the simulator with an effect on CVMs."""

_TRY_AGAIN_S = 30.0
"""Seconds between two attempts to resume while the API can't be read."""
_DELETED = Path("/nonexistent")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The behaviour of the cloud without faults.

    Attributes:
        timing: the settle times and the latency.
        limit: the rate limit of the API.
        profile: the profile of the API learnt by runs.
        basis: the source of each assumption, for people: `settle`, `limit`.
    """

    timing: TimingSettings = field(default_factory=TimingSettings)
    limit: LimitSettings = field(default_factory=LimitSettings)
    profile: ApiProfile = field(default_factory=ApiProfile)
    basis: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The order of a rehearsal.

    Attributes:
        loaded: the playbook.
        settings: the settings of a run.
        limits: the limits of a run.
        fleet: the fleet.
        cloud_url: the address on record.
        assumptions: the behaviour of the cloud without faults.
        faults: the faults.
        faults_source: the source of the faults, for people; None without faults.
        answer: the answer to every question.
        narrowing: the conditions of `--only` and `--exclude`.
        overrides: the decisions to act despite freezes and exemptions.
    """

    loaded: LoadedPlaybook
    settings: Settings
    limits: RunLimits
    fleet: Fleet
    cloud_url: str
    assumptions: Assumptions = field(default_factory=Assumptions)
    faults: FaultFile = NO_FAULTS
    faults_source: str | None = None
    answer: AnswerOption = "yes"
    narrowing: Narrowing | None = None
    overrides: Overrides = NO_OVERRIDES

    def list_simulator_settings(self, seed: int) -> SimulatorSettings:
        """Build the settings of the simulated cloud."""
        limit = self.assumptions.limit
        if self.faults.limit is not None:
            limit = LimitSettings(**self.faults.limit.model_dump())
        return parse_settings(
            {
                "fleet": {"cvms": 0, "seed": seed},
                "timing": self.assumptions.timing,
                "limit": limit,
                "workspace": {"id": self.fleet.workspace or ""},
                "faults": self.faults.faults.simulator_faults(),
            }
        )


@dataclass(slots=True)
class Rehearsed:
    """The end of a rehearsal.

    Attributes:
        seed: the seed.
        state: the replayed state of the log; None for a run that did not start.
        exit_code: the exit code of the run.
        ending: the ending of the run; None for a run that did not start.
        error: the reason for a refused plan; None for a plan without refusal.
        plan: the plan; None if no plan could be made.
        log: the path of the log; only within the folder of the rehearsal.
        requests: the number of requests at the API.
        changing: the moments of the requests to change CVMs, with or without an effect, in seconds of virtual time.
        deaths: the number of killed processes.
        given_up: the moment of the last attempt to resume, in seconds of virtual time; None for a run to its end.
    """

    seed: int
    state: RunState | None = None
    exit_code: Exit = Exit.OK
    ending: Ending | None = None
    error: OrchestratorError | None = None
    plan: Plan | None = None
    log: Path = _DELETED
    requests: int = 0
    changing: list[float] = field(default_factory=list)
    deaths: int = 0
    given_up: float | None = None


def rehearse(rehearsal: Rehearsal, seed: int, folder: Path) -> Rehearsed:
    """Rehearse a playbook on virtual time. The same order and seed give the same result.

    Args:
        rehearsal: the order.
        seed: decides settle times, faults and jitter.
        folder: an empty folder for the log; the caller deletes the folder.

    Raises:
        NoMatchError: when the selectors match no CVM.
        UsageError: when the playbook or the settings are invalid.
    """
    return run_on_virtual_time(_rehearse, rehearsal, seed, folder)


async def _rehearse(rehearsal: Rehearsal, seed: int, folder: Path) -> Rehearsed:
    world = rehearsal.fleet.make_world(rehearsal.list_simulator_settings(seed))
    rehearsal.faults.apply_to_world(world, seed)
    app = create_app(world, clock=anyio.current_time)
    app.now()
    found = Rehearsed(seed)
    errors: list[OrchestratorError] = []  # an error in a task group would become an exception group
    async with anyio.create_task_group() as servers:
        if rehearsal.faults.key_refused_at is not None:
            servers.start_soon(_refuse_key, app, rehearsal.faults.key_refused_at)
        context = _Context(rehearsal, app, servers, Random(f"{seed}/client"), folder, world.api_key)  # noqa: S311
        await _run_processes(context, found, errors)
        servers.cancel_scope.cancel()
    for error in errors:
        if not isinstance(error, GuardError | DriftedError | CloudError):
            raise error
        found.error, found.exit_code = error, error.exit_code
    found.requests = len(app.requests)
    found.changing = [record.at for record in app.requests if record.operation in CHANGING]
    return found


@dataclass(frozen=True, slots=True)
class _Context:
    """Facts shared by the processes of a rehearsal.

    Attributes:
        rehearsal: the order.
        app: the simulated cloud.
        servers: answers the requests.
        rng: the source of jitter.
        folder: the folder of the log.
        api_key: the key of the run.
    """

    rehearsal: Rehearsal
    app: Simulator
    servers: anyio.abc.TaskGroup
    rng: Random
    folder: Path
    api_key: str


async def _refuse_key(app: Simulator, at: float) -> None:
    """Refuse the key of the run from a moment on."""
    await anyio.sleep(at)
    app.world.api_key = f"{app.world.api_key}-revoked"


async def _run_processes(context: _Context, found: Rehearsed, errors: list[OrchestratorError]) -> None:
    """Run a process; after each kill, run another process to resume."""
    whole_run = context.rehearsal.settings.settle.whole_run
    kills = iter(sorted(context.rehearsal.faults.kill_at))
    kill_at = next(kills, None)
    while True:
        process = _Process(context)
        async with anyio.create_task_group() as group:
            if kill_at is not None:
                group.start_soon(process.kill_at, kill_at, group.cancel_scope)
            try:
                await process.carry_out(found)
            except OrchestratorError as error:
                errors.append(error)
            group.cancel_scope.cancel()
        if process.is_dead:
            found.deaths += 1
            errors.clear()
            kill_at = next(kills, None)
        elif not (errors and isinstance(errors[-1], CloudError)) or found.state is None:
            return
        elif isinstance(errors.pop(), KeyRefusedError):
            found.ending, found.exit_code, found.given_up = Ending.KEY_REFUSED, Exit.ENDED_EARLY, anyio.current_time()
            return
        elif anyio.current_time() + _TRY_AGAIN_S > whole_run:
            found.ending, found.exit_code, found.given_up = Ending.TIMED_OUT, Exit.ENDED_EARLY, anyio.current_time()
            return
        else:
            await anyio.sleep(_TRY_AGAIN_S)


class _Process:
    """A process of `orchestrator run` or `orchestrator resume`.

    Attributes:
        is_dead: whether the process was killed.
    """

    def __init__(self, context: _Context) -> None:
        self.is_dead = False
        self._context, self._order = context, context.rehearsal
        latency = self._order.assumptions.timing.latency[0]
        self._network = Network(context.app, context.servers, lambda: latency, self._order.faults.outages)
        self._disk, self._clock = LogDisk(), SystemClock(self._read_wall)
        self._store = RehearsedRunStore(context.folder, self._disk, self._read_wall)
        self._run_id = f"{self._order.fleet.read_at:%Y%m%dT%H%M%SZ}-0000"

    def _read_wall(self) -> datetime:
        return self._order.fleet.read_at + timedelta(seconds=self._clock.now())

    async def kill_at(self, moment: float, scope: anyio.CancelScope) -> None:
        """Kill the process at a moment: from then on the process sends, receives and writes nothing."""
        await anyio.sleep(max(0.0, moment - anyio.current_time()))
        self.is_dead = self._network.is_dead = self._disk.is_dead = True
        scope.cancel()

    async def carry_out(self, found: Rehearsed) -> None:
        """Begin the run, or resume the run of an earlier process."""
        session = self._open_session()
        found.log = self._store.path_of(self._run_id)
        if not found.log.exists():
            opened = await self._start(session, found)
            with opened:
                await self._carry_to_end(session, opened, found)
            return
        with reopen_run(self._store.get_run(self._run_id)) as reopened:
            if reopened.state.finished is not None:  # the death came after the last record
                found.state, found.exit_code = reopened.state, Exit(reopened.state.finished.exit_code)
                return
            applied, claim = reopened.apply_settings(session.settings), NoClaim(self._run_id)
            plan = await reopened.plan(session, applied, claim, break_freeze=self._order.overrides.break_freeze)
            await self._carry_to_end(session, await reopened.record_resume(session, plan, claim), found)

    async def _carry_to_end(self, session: Session, opened: OpenRun, found: Rehearsed) -> None:
        found.state = opened.state
        result = await carry_to_end(session, opened, prepare_run(session, opened, Answers(self._order.answer)))
        if result is not None:
            found.exit_code, found.ending = result.exit_code, result.ending

    def _open_session(self) -> Session:
        order, settle = self._order, self._order.settings.settle
        left = max(1.0, settle.whole_run - anyio.current_time())
        changed = {
            "notify": NotifySection(),  # notices about a rehearsal would alarm people
            "approval": ApprovalSection(),
            "settle": settle.model_copy(update={"whole_run": left}),
        }
        return make_session(
            self._network,
            self._context.api_key,
            endpoint=Endpoint(order.cloud_url, self._context.api_key),
            settings=order.settings.model_copy(update=changed),
            limits=order.limits,
            clock=self._clock,
            rng=self._context.rng,
            store=self._store,
            claims=NoClaimStore(),
            profiles=NoProfileStore(),
            learnt=order.assumptions.profile,
            exemptions=order.fleet.exemptions,
        )

    async def _start(self, session: Session, found: Rehearsed) -> OpenRun:
        order, fleet = self._order, self._order.fleet
        await self._read_as_a_run_does(session)
        request = RunRequest(
            order.loaded,
            order.limits,
            run_id=self._run_id,
            narrowing=order.narrowing,
            inventory=Inventory(fleet.cvms, whole=True, stable=fleet.is_stable, detailed=True),
            overrides=order.overrides,
        )
        prepared = await plan_request(session, request)
        found.plan = prepared.plan
        return await start_run(session, request, prepared, _agree)

    async def _read_as_a_run_does(self, session: Session) -> None:
        """Read the inventory only for its requests: requests take time and turns of the rate limit."""
        playbook = self._order.loaded.playbook
        guards = merge_guards(playbook.guards, session.settings.guards)
        selects = [step.select for step in playbook.acting_steps if step.select.result is None]
        await read_selected(InventoryReader(session.cloud, session.gate, session.rng), selects, guards)


async def _agree(_: Plan) -> bool:
    return True


class Answers:
    """The answers of a rehearsal, as `Approver`: the same answer to every question, at once."""

    def __init__(self, answer: AnswerOption) -> None:
        self._answer = answer

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        """Answer at once; `none` waits for the expiry of the question."""
        del step, question, expires_at
        if self._answer == "none":
            await anyio.sleep_forever()
        return Answer(self._answer == "yes", "rehearsal", "rehearsal")

    def find_answer(self) -> Answer | None:
        """Return None: no answer is late."""
        return None
