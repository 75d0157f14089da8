"""Everything a command needs to speak to a cloud, put together: settings, gate, client, clock."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random

from orchestrator import __version__
from orchestrator.billing.rates import needs_price_list
from orchestrator.cloud.client import connect
from orchestrator.duration import format_duration
from orchestrator.engine.adapt import START, Held, RateFinder
from orchestrator.engine.gate import Gate
from orchestrator.engine.gcra import Gcra, with_headroom
from orchestrator.engine.inventory import InventoryReader
from orchestrator.engine.learning import LearningCloud
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.status import PAGE_SIZE
from orchestrator.errors import UsageError
from orchestrator.learnt import Learnt, LearntFile
from orchestrator.moment import utc_now
from orchestrator.playbook.guards import needs_whole_workspace, stricter
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.playbook.plan import Hold, Plan
from orchestrator.playbook.planned import RunLimits
from orchestrator.playbook.planning import make_plan
from orchestrator.playbook.schema import Guards, Limits, Playbook
from orchestrator.playbook.select import apps_to_read
from orchestrator.playbook.steps import Pause
from orchestrator.playbook.terms import AUTO
from orchestrator.settings.load import Settings


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        """Set up; within the event loop."""
        self._time = asyncio.get_running_loop().time  # anyio asks for the loop each time, and a run asks often

    def now(self) -> float:
        """The event loop's own clock, by which it sleeps."""
        return self._time()

    def wall(self) -> datetime:
        """The time of day."""
        return utc_now()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and with which key."""

    base_url: str
    api_key: str
    simulated: bool = False

    def has_to_be(self, cloud_url: str) -> None:
        """Refuse to go on with a run anywhere but where it was.

        Raises:
            UsageError: when this is another cloud.
        """
        if self.base_url != cloud_url:
            raise UsageError(
                f"the run is of {cloud_url}, the settings are for {self.base_url}",
                hint="use the same cloud.base_url (PHALA_CLOUD_API_PREFIX) as the run did",
            )


_NAMES = ("dev-api-1", "dev-api-2", "dev-web-1", "staging-api-1", "staging-web-1", "batch-report-1", "batch-report-2")
"""Some names in a `--simulate` fleet, so that each of the playbooks that come with this finds its CVMs there."""


@contextmanager
def endpoint(settings: Settings, *, simulate: bool) -> Iterator[Endpoint]:
    """The cloud of the settings, or a simulated one for as long as the block lasts."""
    if not simulate:
        yield Endpoint(settings.cloud.base_url, settings.key())
        return
    from orchestrator.simulator.serve import BackgroundSimulator  # noqa: PLC0415 - only when asked for
    from orchestrator.simulator.settings import Settings as Simulated  # noqa: PLC0415 - the same

    fleet = {"names": _NAMES}
    with BackgroundSimulator(Simulated.model_validate({"fleet": fleet})) as simulator:
        yield Endpoint(simulator.url, simulator.api_key, simulated=True)


def limits_of(limits: Limits, settings: Settings) -> RunLimits:
    """A playbook's own limits, and the settings' where it has none."""
    rate = settings.rate
    requests_per_second = limits.requests_per_second or rate.requests_per_second
    return RunLimits(
        requests_per_second=START if requests_per_second == AUTO else requests_per_second,
        burst=limits.burst or rate.burst,
        max_in_flight=limits.max_in_flight or rate.max_in_flight,
        per_teepod=limits.per_teepod or rate.per_teepod,
        max_failures=limits.max_failures,
        adaptive=requests_per_second == AUTO,
        dispatch=limits.dispatch or rate.dispatch,
    )


@dataclass(frozen=True, slots=True)
class Session:
    """One command's line to the cloud.

    Attributes:
        settings: of the command.
        endpoint: where requests go.
        limits: of the run.
        cloud: what answers them.
        gate: what every request passes.
        clock: what is measured and written down by.
        rng: the jitter.
        batch_size: how many statuses one request asks for at the most.
        batch_missing: whether an earlier run found that there is no such request.
        finder: what finds the rate out; None where it is fixed.
        settle_seconds: by action, how long CVMs needed to settle in earlier runs, as far as that is known.
    """

    settings: Settings
    endpoint: Endpoint
    limits: RunLimits
    cloud: Cloud
    gate: Gate
    clock: SystemClock
    rng: Random
    batch_size: int
    batch_missing: bool
    finder: RateFinder | None = None
    settle_seconds: Mapping[str, float] = field(default_factory=dict)

    def remember(self, *, batch_size: int, batch_missing: bool, settle: Mapping[str, float] | None = None) -> None:
        """Keep what this run learnt of the API for the next one.

        Args:
            batch_size: how many statuses one request may ask for.
            batch_missing: whether there is no such request.
            settle: by action, within how many seconds nine in ten CVMs had settled.
        """
        if self.endpoint.simulated:
            return
        held = self.finder.held if self.finder is not None else None
        smaller = batch_size < self.settings.settle.batch_size
        learnt = Learnt(
            requests_per_second=held.requests_per_second if held else None,
            is_limit=held is not None and held.is_limit,
            batch_size=batch_size if smaller else None,
            batch_missing=batch_missing,
            settle=settle or {},
        )
        if learnt != Learnt():
            _learnt_file(self.settings).write(self.endpoint.base_url, learnt, self.clock.wall())


_MANY = 100
"""Requests per second from which the CPU that each of them takes counts for more than being ready soon."""


def _learnt_file(settings: Settings) -> LearntFile:
    def warn(event: str, **facts: object) -> None:
        from orchestrator.cli.logs import warn  # noqa: PLC0415 - slow to load, and there is rarely something to say

        warn(settings.log, event, **facts)

    return LearntFile(settings.audit.state_dir, warn)


@asynccontextmanager
async def open_session(
    settings: Settings, where: Endpoint, limits: RunLimits, *, few: bool = False
) -> AsyncIterator[Session]:
    """A session for as long as the block lasts.

    Args:
        settings: the settings.
        where: the cloud.
        limits: how fast and how wide.
        few: whether it is for some reads alone, however fast they may go.
    """
    clock, rng = SystemClock(), Random()  # noqa: S311 - jitter, not secrets
    learnt = Learnt()
    if not where.simulated:
        learnt = _learnt_file(settings).read(where.base_url, clock.wall())
    finder = None
    if limits.adaptive:
        finder = RateFinder(with_headroom(limits.burst), now=clock.now(), known=_held(learnt))
        limits = replace(limits, requests_per_second=finder.rate)
    gate = Gate(Gcra(limits.requests_per_second, with_headroom(limits.burst)), limits.max_in_flight, clock)
    async with connect(
        where.base_url,
        where.api_key,
        api_version=settings.cloud.api_version,
        timeout=settings.cloud.timeout,
        max_in_flight=limits.max_in_flight,
        many=not few and (limits.adaptive or limits.requests_per_second >= _MANY),
    ) as cloud:
        yield Session(
            settings,
            where,
            limits,
            cloud if finder is None else LearningCloud(cloud, finder, gate.gcra, clock),
            gate,
            clock,
            rng,
            batch_size=min(settings.settle.batch_size, learnt.batch_size or settings.settle.batch_size),
            batch_missing=learnt.batch_missing,
            finder=finder,
            settle_seconds=learnt.settle,
        )


def _held(learnt: Learnt) -> Held | None:
    rate = learnt.requests_per_second
    return None if rate is None else Held(rate, learnt.is_limit)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, the guards that hold, how large the workspace is (0 when only some apps were read), and when it was."""

    plan: Plan
    guards: Guards
    workspace_size: int
    read_at: datetime


async def prepare(session: Session, loaded: LoadedPlaybook, hold: Hold | None = None) -> Prepared:
    """Read the inventory and make the plan.

    Args:
        session: the line to the cloud.
        loaded: the playbook.
        hold: what the plan has to keep to, such as a plan file.

    Raises:
        CloudError: when the inventory can't be had.
    """
    playbook, settings = loaded.playbook, session.settings
    guards = stricter(playbook.guards if hold is None else hold.guards, settings.guards)
    selects = [step.select for step in playbook.acting if step.select.result is None]
    reader = InventoryReader(session.cloud, session.gate, session.rng)
    apps = apps_to_read(selects, whole_workspace=needs_whole_workspace(guards))
    read_at = session.clock.wall()
    inventory = await (reader.read_all() if apps is None else reader.read_apps(apps))
    prices = await reader.price_list() if needs_price_list(inventory.cvms) else {}
    plan = make_plan(
        playbook,
        inventory.cvms,
        guards=guards,
        limits=session.limits,
        settle_timeout=settings.settle.timeout,
        price_list=prices,
        storage_usd_per_gb_hour=settings.billing.storage_usd_per_gb_hour,
        batch_size=PAGE_SIZE if session.batch_missing else session.batch_size,
        more_warnings=[*([] if inventory.stable else [_SHIFTING]), *_waits_too_long(playbook, settings)],
        last_word=None if hold is None else hold.last_word,
        settle_seconds=session.settle_seconds,
    )
    if hold is not None:
        plan = hold.hold(plan, now=session.clock.wall(), version=__version__)
    return Prepared(plan, guards, len(inventory.cvms) if inventory.whole else 0, read_at)


_SHIFTING = "the list of CVMs kept changing while it was read; the plan may lack one that was just created"


def _waits_too_long(playbook: Playbook, settings: Settings) -> Iterator[str]:
    """Questions count towards the time that a run may take at all."""
    waits = sum(step.timeout for step in playbook.steps if isinstance(step, Pause))
    most = settings.settle.whole_run
    if waits >= most:
        yield (
            f"the questions may wait for {format_duration(waits)}, but a run ends after {format_duration(most)} "
            f"(settle.whole_run); it can be resumed then, and asks anew"
        )
