"""The connection of a command to a cloud: settings, gate, client, clock; and the observer of a run.

The destination is the cloud of the settings, or a simulated cloud for the length of a command. The workspace of the key
is known by its id if the API provides the id, else by a fingerprint of the key.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Self

from orchestrator.audit.claims import ClaimStore
from orchestrator.audit.store import RunStore
from orchestrator.cloud.client import connect
from orchestrator.cloud.transport import find_proxy
from orchestrator.cvm import Cvm
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.adaptive import START, AdaptiveRate, KnownRate
from orchestrator.engine.rate.adaptive_cloud import AdaptiveCloud
from orchestrator.engine.rate.gate import Gate, Priority
from orchestrator.engine.rate.gcra import Gcra, with_headroom
from orchestrator.engine.workspace import ObservedCloud
from orchestrator.errors import CloudError, KeyRefusedError, OrchestratorError, UsageError
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.plan_warning import PlanWarning, WarningCode
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.value_types import AUTO
from orchestrator.reply import Reply
from orchestrator.runs.api_profile import ApiProfile, ApiProfileStore, fingerprint_workspace
from orchestrator.runs.outage_text import wait_text
from orchestrator.runs.shared_budget import FileGcra, SharedBudget, budget_path
from orchestrator.runs.stores import DEFAULT_KEY, SIMULATED, api_profile_store, claim_store, run_store, team_store
from orchestrator.runs.workspaces import name_workspace
from orchestrator.settings.credentials import Credentials
from orchestrator.settings.load import Settings
from orchestrator.state_files import KEEP_FILE
from orchestrator.times import utc_now

if TYPE_CHECKING:  # `plan` writes no log, and starts without the import of the audit log
    from orchestrator.audit.record import Record
    from orchestrator.audit.replay import RunState
    from orchestrator.permit import SendPermit
    from orchestrator.playbook.keep import KeepList
    from orchestrator.runs.keeping import KeepReader


class RunObserver:
    """Receives the audit records and the warnings of a run, and ignores both: override the methods of interest.

    The methods run in the event loop of the run: they must return soon, and not raise.

    Attributes:
        on_reply: called with every reply of the API; None for an observer without interest in replies.
    """

    on_reply: Callable[[Reply[object]], None] | None = None

    def on_record(self, record: "Record", state: "RunState") -> None:
        """Receive a durable record of the audit log.

        Args:
            record: the record; not to be changed.
            state: the replayed state of the log, the record included.
        """

    def on_warning(self, event: str, /, **facts: object) -> None:
        """Receive a warning about a condition without a record of its own, such as an outage of the API.

        Args:
            event: the name of the condition, such as `api.down`.
            **facts: the facts of the condition.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The destination of requests, and the API key.

    Attributes:
        base_url: the base URL, including `/api/v1`.
        api_key: the key; a secret.
        simulated: whether this is a simulated cloud of this process.
        key_source: the source of the key, for hints.
    """

    base_url: str
    api_key: str = field(repr=False)
    simulated: bool = False
    key_source: str = field(default="the API key (PHALA_CLOUD_API_KEY, or the settings)", compare=False)

    @classmethod
    def from_settings(cls, settings: Settings, found: Credentials | None = None) -> Self:
        """Read the address and the key.

        Args:
            settings: the settings.
            found: the key, if known already.

        Raises:
            SettingsError: when there is no key, or its source is unusable.
        """
        found = found or settings.credentials()
        if settings.workspace_name is None:
            return cls(found.base_url, found.api_key)
        return cls(found.base_url, found.api_key, key_source=f"the API key in {found.source}")

    def explain(self, error: OrchestratorError) -> OrchestratorError:
        """Name the source of a refused key in the hint of an error."""
        if isinstance(error, KeyRefusedError):
            error.hint = f"check {self.key_source}; the key may be revoked or of another service"
        return error

    def require_url(self, cloud_url: str) -> None:
        """Refuse to continue a run on another cloud.

        Raises:
            UsageError: when this is another cloud.
        """
        if self.base_url != cloud_url:
            raise UsageError(
                f"the run is for {cloud_url}, the settings are for {self.base_url}",
                hint="use the cloud.base_url (PHALA_CLOUD_API_PREFIX) of the run",
            )


_NAMES = ("dev-api-1", "dev-api-2", "dev-web-1", "staging-api-1", "staging-web-1", "batch-report-1", "batch-report-2")
"""Names in a `--simulate` fleet, so that every shipped playbook matches some CVMs."""


@contextmanager
def open_endpoint(settings: Settings, *, simulate: bool) -> Iterator[Endpoint]:
    """Provide the cloud of the settings, or a simulated cloud for the length of the block."""
    if not simulate:
        yield Endpoint.from_settings(settings)
        return
    from orchestrator.simulator.serve import BackgroundSimulator  # noqa: PLC0415 - only when asked for
    from orchestrator.simulator.settings import SimulatorSettings  # noqa: PLC0415 - the same

    fleet = {"names": _NAMES}
    with BackgroundSimulator(SimulatorSettings.model_validate({"fleet": fleet})) as simulator:
        yield Endpoint(simulator.url, simulator.api_key, simulated=True)


class SystemClock:
    """The machine's clocks.

    Attributes:
        wall: returns the time of day.
    """

    def __init__(self, wall: Callable[[], datetime] = utc_now) -> None:
        """Set up; within the event loop."""
        self._time = asyncio.get_running_loop().time  # anyio looks up the loop on every call, and a run calls often
        self.wall = wall

    def now(self) -> float:
        """Return the event loop's own clock, also used by its sleeps."""
        return self._time()


def limits_of(limits: Limits, settings: Settings) -> RunLimits:
    """Return a playbook's own limits, completed by the settings; not above the workspace's rate."""
    rate, most = settings.rate, workspace_rate(settings)
    requests_per_second = limits.requests_per_second or rate.requests_per_second
    if most is not None and requests_per_second != AUTO:
        requests_per_second = min(requests_per_second, most)
    return RunLimits(
        requests_per_second=START if requests_per_second == AUTO else requests_per_second,
        burst=limits.burst or rate.burst,
        max_in_flight=limits.max_in_flight or rate.max_in_flight,
        per_teepod=limits.per_teepod or rate.per_teepod,
        max_failures=limits.max_failures,
        adaptive=requests_per_second == AUTO,
        dispatch=limits.dispatch or rate.dispatch,
    )


def workspace_rate(settings: Settings) -> float | None:
    """Return the rate of the workspace for all its runs together; None if the settings have no number of their own."""
    rate = settings.rate
    if "requests_per_second" not in rate.model_fields_set or rate.requests_per_second == AUTO:
        return None
    return rate.requests_per_second


def share_connections(workspaces: int, descriptors: int) -> int:
    """Share the descriptors of a process between workspaces; return the connections of each workspace, at least 1.

    Args:
        workspaces: number of sessions open at once.
        descriptors: the most open files of the process, as in `resource.RLIMIT_NOFILE`.
    """
    return max(1, (descriptors - _OTHER_FILES) // max(1, workspaces) - _FILES_OF_A_RUN)


def count_descriptors(workspaces: int) -> int:
    """Count the descriptors of a process with a run and a connection in every workspace."""
    return _OTHER_FILES + workspaces * (_FILES_OF_A_RUN + 1)


_OTHER_FILES, _FILES_OF_A_RUN = 64, 4
"""Descriptors of a process beside its runs; and files of a run: log, claim and rate budget, and a file in passing."""


def _open_budget(
    settings: Settings, where: Endpoint, limits: RunLimits, observer: RunObserver, *, few: bool
) -> tuple[Gcra | SharedBudget, Callable[[], None]]:
    """Open the rate budget of a session; return the budget, and a function to close the budget."""
    own = Gcra(limits.requests_per_second, with_headroom(limits.burst))
    if where.simulated:
        return own, lambda: None
    most, usual = workspace_rate(settings), settings.rate.requests_per_second
    usual_rate = 0.0 if limits.adaptive or usual == AUTO else usual
    burst = limits.burst if limits.adaptive else settings.rate.burst
    shared = FileGcra(
        budget_path(settings.audit.state_dir, where.base_url, where.api_key),
        Gcra(most or limits.requests_per_second, with_headroom(burst)),
        warn=observer.on_warning,
        counts_as_run=not few,
    )
    return SharedBudget(own, shared, max_rate=most, usual_rate=usual_rate), shared.close


@dataclass(frozen=True, slots=True)
class Session:
    """The connection of a command to the cloud.

    Attributes:
        settings: the settings of the command.
        endpoint: the destination of requests.
        limits: the limits of the run.
        cloud: the cloud client.
        gate: the rate limiter for every request.
        clock: the clock for measurements and timestamps.
        rng: the random source for jitter.
        batch_size: the highest number of statuses in a request.
        batch_missing: whether an earlier run found the batch request missing.
        finder: the finder of the rate; None for a fixed rate.
        settle_seconds: by action, the settle time of CVMs in earlier runs, if known.
        identify: reads the id of the key's workspace.
        store: the store of runs.
        claims: the store of the claims on CVMs.
        profiles: the store of API profiles.
        says_simulated: returns True once the cloud identified itself as simulated in an answer.
        observer: the observer of the run.
        require_permit: lets every later request with an effect depend on a permit.
        hold_budget: takes the turns of the rate for a run from now on; None without a team store.
        keeps: reads the exemptions; None for a reader that refuses a broken file.
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
    identify: Callable[[], Awaitable[Reply[str]]]
    store: RunStore
    claims: ClaimStore
    profiles: ApiProfileStore
    finder: AdaptiveRate | None = None
    settle_seconds: Mapping[str, float] = field(default_factory=dict)
    says_simulated: Callable[[], bool] = lambda: False
    observer: RunObserver = field(default_factory=RunObserver)
    require_permit: "Callable[[SendPermit], object]" = lambda _permit: None
    hold_budget: Callable[[str], object] | None = None
    keeps: "KeepReader | None" = None

    def read_keep(self, ignored: str | None = None) -> "KeepList | None":
        """Read the exemptions in force now; None without any source of exemptions.

        Args:
            ignored: the reason to act on exempted CVMs all the same.

        Raises:
            SettingsError: when the exemptions can't be read, or are invalid.
        """
        settings = self.settings
        has_file = settings.keep.file is not None or (settings.audit.state_dir.expanduser() / KEEP_FILE).exists()
        if self.endpoint.simulated or (not has_file and settings.store.url is None):
            return None
        from orchestrator.runs.keeping import KeepReader  # noqa: PLC0415 - most users have no exemption

        return (self.keeps or KeepReader()).read_list(settings, self.clock.wall(), ignored, self.observer.on_warning)

    @property
    def is_simulated(self) -> bool:
        """True for a simulated cloud: the command's own, or a cloud with a mark in its answers."""
        return self.endpoint.simulated or self.says_simulated()

    def save_profile(self, *, batch_size: int, batch_missing: bool, settle: Mapping[str, float] | None = None) -> None:
        """Save the profile of the API for the next run.

        Args:
            batch_size: the number of statuses the API accepts in a request.
            batch_missing: whether the API lacks the batch request.
            settle: by action, the seconds until nine in ten CVMs had settled.
        """
        if self.endpoint.simulated:
            return
        held = self.finder.known_rate if self.finder is not None else None
        if held is not None and held.requests_per_second <= 0:
            held = None  # the rate stayed fixed beside another run
        smaller = batch_size < self.settings.settle.batch_size
        learnt = ApiProfile(
            requests_per_second=held.requests_per_second if held else None,
            is_limit=held is not None and held.is_limit,
            batch_size=batch_size if smaller else None,
            batch_missing=batch_missing,
            settle=settle or {},
        )
        if learnt != ApiProfile():
            self.profiles.merge_profile(
                self.endpoint.base_url, fingerprint_workspace(self.endpoint.api_key), learnt, self.clock.wall()
            )


_MANY = 100
"""Rate from which low CPU use per request matters more than a quick start, in requests per second."""


@asynccontextmanager
async def open_session(
    settings: Settings,
    where: Endpoint,
    limits: RunLimits,
    observer: RunObserver | None = None,
    *,
    few: bool = False,
    connections: int | None = None,
    beside: float = 0.0,
    keeps: "KeepReader | None" = None,
) -> AsyncIterator[Session]:
    """Open a session for the length of the block.

    Args:
        settings: the settings.
        where: the cloud.
        limits: the rate and concurrency limits.
        observer: the observer of the run; by default none.
        few: whether the session is for a few reads only, at any rate.
        connections: the most connections and requests in flight, if fewer than in the limits.
        beside: requests per second of other sessions in this process. The sum decides the choice of the HTTP client.
        keeps: reads the exemptions; None for a reader that refuses a broken file.
    """
    observer = observer or RunObserver()
    # All machines of a team have the same time of day, whatever their own clocks say.
    has_team = settings.store.url is not None and not where.simulated
    if has_team and limits.adaptive:
        message = "requests_per_second is `auto`; the machines of a team store share a fixed rate"
        raise UsageError(message, hint="set limits.requests_per_second of the playbook to a number")
    clock = SystemClock(team_store(settings).wall) if has_team else SystemClock()
    rng = Random()  # noqa: S311 - jitter, not secrets
    workspace = name_in_store(settings, where.api_key) if has_team else SIMULATED
    learnt, profiles = ApiProfile(), api_profile_store(settings, workspace, observer.on_warning)
    if not where.simulated:
        learnt = profiles.read_profile(where.base_url, fingerprint_workspace(where.api_key), clock.wall())
    finder = None
    if limits.adaptive:
        finder = AdaptiveRate(with_headroom(limits.burst), now=clock.now(), known=known_rate(learnt))
        limits = replace(limits, requests_per_second=finder.rate)
    if connections is not None:
        limits = replace(limits, max_in_flight=min(limits.max_in_flight, connections))
    budget, close_budget = _open_budget(settings, where, limits, observer, few=few)
    gate = Gate(budget, limits.max_in_flight, clock)
    gate.on_long_pause.append(lambda seconds: observer.on_warning("api.wait", note=wait_text(seconds)))
    hold_budget: Callable[[str], object] | None = None
    try:
        if has_team and not few and isinstance(budget, SharedBudget):
            from orchestrator.runs.store_budget import SessionBudget  # noqa: PLC0415 - only where `store.url` is set

            shared = SessionBudget(settings, workspace, observer.on_warning)
            close_budget, hold_budget = shared.close, shared.hold
            await shared.open(budget)
        async with connect(
            where.base_url,
            where.api_key,
            api_version=settings.cloud.api_version,
            timeout=settings.cloud.timeout,
            max_in_flight=limits.max_in_flight,
            # Only the carrier of many requests asks for a lease directly before the first byte.
            many=not few and (limits.adaptive or has_team or limits.requests_per_second + beside >= _MANY),
        ) as cloud:
            client: Cloud = cloud if finder is None else AdaptiveCloud(cloud, finder, budget, clock)
            yield Session(
                settings,
                where,
                limits,
                client if observer.on_reply is None else ObservedCloud(client, observer.on_reply),
                gate,
                clock,
                rng,
                batch_size=min(settings.settle.batch_size, learnt.batch_size or settings.settle.batch_size),
                batch_missing=learnt.batch_missing,
                identify=cloud.read_workspace,
                store=run_store(settings, workspace),
                claims=claim_store(settings),
                profiles=profiles,
                finder=finder,
                settle_seconds=learnt.settle,
                says_simulated=lambda: cloud.simulated,
                observer=observer,
                keeps=keeps,
                require_permit=cloud.require_permit,
                hold_budget=hold_budget,
            )
    except CloudError as error:
        where.explain(error)
        error.hint = "; ".join([*([error.hint] if error.hint else []), *_explain_address(where)])
        name_workspace(error, settings.workspace_name)
        raise
    finally:
        close_budget()


def _explain_address(where: Endpoint) -> Iterator[str]:
    """Describe the destination of requests, to help a person find the cause of a failure."""
    yield f"cloud.base_url is {where.base_url}"
    if not where.base_url.endswith("/api/v1"):
        yield "the address of Phala Cloud ends with /api/v1"
    proxy = find_proxy(where.base_url)
    if proxy is not None:
        yield f"requests go through the proxy {proxy.host} of {proxy.variable} (NO_PROXY exempts hosts)"


def known_rate(learnt: ApiProfile) -> KnownRate | None:
    """Return the rate known from a profile; None if unknown."""
    rate = learnt.requests_per_second
    return None if rate is None else KnownRate(rate, learnt.is_limit)


_DOMAIN = b"orchestrator-key-v1\n"
_DIGITS = 16


def fingerprint_key(api_key: str) -> str:
    """Shorten a key to hex digits, different for different keys, without a way back to the key."""
    return hashlib.sha256(_DOMAIN + api_key.encode()).hexdigest()[:_DIGITS]


def name_in_store(settings: Settings, api_key: str) -> str:
    """Return the name of a key's workspace in a team store.

    Two machines may have different default keys: the name tells the keys apart, and so rates and pauses.
    """
    return settings.workspace_name or f"{DEFAULT_KEY}{fingerprint_key(api_key)}"


@dataclass(frozen=True, slots=True)
class WorkspaceIdentity:
    """The workspace of a run.

    Attributes:
        id: the workspace's id; None if the API does not provide the id.
        key: the fingerprint of the key; None in records of earlier versions.
    """

    id: str | None
    key: str | None

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Self:
        """Read the workspace from `run.started` or a plan file; earlier versions wrote nothing."""
        return cls(fields.get("workspace"), fields.get("key_fingerprint"))

    def record_fields(self) -> dict[str, object]:
        """Write the fields of `run.started` and of a plan file."""
        return {"workspace": self.id, "key_fingerprint": self.key}

    def compare_with(self, earlier: "WorkspaceIdentity", what: str) -> PlanWarning | None:
        """Compare with an earlier record.

        Args:
            earlier: the record.
            what: the source of the record, such as `the run`.

        Returns:
            A warning if only the keys can be compared and the keys differ; else None.

        Raises:
            UsageError: when this is another workspace.
        """
        if self.id is not None and earlier.id is not None:
            if self.id == earlier.id:
                return None
            raise UsageError(
                f"{what} belongs to workspace {earlier.id}, the API key to workspace {self.id}",
                hint=f"use a key of workspace {earlier.id}",
            )
        if None in {self.key, earlier.key} or self.key == earlier.key:
            return None
        return PlanWarning(
            WarningCode.OTHER_KEY,
            f"{what} used another API key (fingerprint {earlier.key}, now {self.key}), and the API does not tell "
            f"whether both keys belong to the same workspace",
        )


async def read_workspace(session: Session, cvms: Iterable[Cvm] = ()) -> WorkspaceIdentity:
    """Find the workspace of the session's key: by the list of CVMs, else by a single request."""
    key = fingerprint_key(session.endpoint.api_key)
    found = {cvm.workspace for cvm in cvms}
    if len(found) == 1 and None not in found:
        return WorkspaceIdentity(found.pop(), key)
    async with session.gate.turn(Priority.READ):
        reply = await session.identify()
    return WorkspaceIdentity(reply.value, key)
