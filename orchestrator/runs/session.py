"""The connection of a command to a cloud, put together: settings, gate, client, clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random

from orchestrator.audit.claims import ClaimStore
from orchestrator.audit.store import RunStore
from orchestrator.cloud.client import connect
from orchestrator.cloud.transport import find_proxy
from orchestrator.engine.protocols import Cloud
from orchestrator.engine.rate.adaptive import START, AdaptiveRate, KnownRate
from orchestrator.engine.rate.adaptive_cloud import AdaptiveCloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra, with_headroom
from orchestrator.errors import CloudError
from orchestrator.moment import utc_now
from orchestrator.playbook.limits import Limits
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.playbook.value_types import AUTO
from orchestrator.reply import Reply
from orchestrator.runs.api_profile import ApiProfile, ApiProfileStore, fingerprint_workspace
from orchestrator.runs.endpoint import Endpoint
from orchestrator.runs.observer import RunObserver
from orchestrator.runs.outage_text import wait_text
from orchestrator.runs.stores import api_profile_store, claim_store, run_store
from orchestrator.settings.load import Settings


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        """Set up; within the event loop."""
        self._time = asyncio.get_running_loop().time  # anyio looks up the loop on every call, and a run calls often

    def now(self) -> float:
        """Return the event loop's own clock, also used by its sleeps."""
        return self._time()

    def wall(self) -> datetime:
        """Return the time of day."""
        return utc_now()


def limits_of(limits: Limits, settings: Settings) -> RunLimits:
    """Return a playbook's own limits, completed by the limits of the settings."""
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
    settings: Settings, where: Endpoint, limits: RunLimits, observer: RunObserver | None = None, *, few: bool = False
) -> AsyncIterator[Session]:
    """Open a session for the length of the block.

    Args:
        settings: the settings.
        where: the cloud.
        limits: the rate and concurrency limits.
        observer: the observer of the run; by default none.
        few: whether the session is for a few reads only, at any rate.
    """
    observer = observer or RunObserver()
    clock, rng = SystemClock(), Random()  # noqa: S311 - jitter, not secrets
    learnt, profiles = ApiProfile(), api_profile_store(settings, observer.on_warning)
    if not where.simulated:
        learnt = profiles.read_profile(where.base_url, fingerprint_workspace(where.api_key), clock.wall())
    finder = None
    if limits.adaptive:
        finder = AdaptiveRate(with_headroom(limits.burst), now=clock.now(), known=_known_rate(learnt))
        limits = replace(limits, requests_per_second=finder.rate)
    gate = Gate(Gcra(limits.requests_per_second, with_headroom(limits.burst)), limits.max_in_flight, clock)
    gate.on_long_pause.append(lambda seconds: observer.on_warning("api.wait", note=wait_text(seconds)))
    try:
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
                cloud if finder is None else AdaptiveCloud(cloud, finder, gate.gcra, clock),
                gate,
                clock,
                rng,
                batch_size=min(settings.settle.batch_size, learnt.batch_size or settings.settle.batch_size),
                batch_missing=learnt.batch_missing,
                identify=cloud.read_workspace,
                store=run_store(settings),
                claims=claim_store(settings),
                profiles=profiles,
                finder=finder,
                settle_seconds=learnt.settle,
                says_simulated=lambda: cloud.simulated,
                observer=observer,
            )
    except CloudError as error:
        error.hint = "; ".join([*([error.hint] if error.hint else []), *_explain_address(where)])
        raise


def _explain_address(where: Endpoint) -> Iterator[str]:
    """Describe the destination of requests, to help a person find the cause of a failure."""
    yield f"cloud.base_url is {where.base_url}"
    if not where.base_url.endswith("/api/v1"):
        yield "the address of Phala Cloud ends with /api/v1"
    proxy = find_proxy(where.base_url)
    if proxy is not None:
        yield f"requests go through the proxy {proxy.host} of {proxy.variable} (NO_PROXY exempts hosts)"


def _known_rate(learnt: ApiProfile) -> KnownRate | None:
    rate = learnt.requests_per_second
    return None if rate is None else KnownRate(rate, learnt.is_limit)
