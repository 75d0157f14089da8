"""A rehearsed process: its session with the simulated cloud, and the stores of the rehearsal."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Self

from orchestrator.audit.claims import Claim, ClaimStore
from orchestrator.audit.log import AuditLog, Observer, PendingWrite
from orchestrator.audit.store import FileRun, FileRunStore, RunStore
from orchestrator.audit.verify import Reading, Take
from orchestrator.cloud.client import PhalaCloud
from orchestrator.cloud.http import Http
from orchestrator.cloud.transport import Destination, ThroughHttpx
from orchestrator.cvm import CvmRef
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.adaptive import AdaptiveRate
from orchestrator.engine.rate.adaptive_cloud import AdaptiveCloud
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra, with_headroom
from orchestrator.playbook.keep import KeepEntry, KeepList
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.rehearsal.network import Network
from orchestrator.runs.api_profile import ApiProfile, ApiProfileStore
from orchestrator.runs.session import Endpoint, Session, known_rate, workspace_rate
from orchestrator.settings.load import Settings

ADDRESS = "http://127.0.0.1/api/v1"
"""The address in requests to the simulated cloud; no socket is opened."""


def make_session(
    network: Network,
    api_key: str,
    *,
    endpoint: Endpoint,
    settings: Settings,
    limits: RunLimits,
    clock: Clock,
    rng: Random,
    store: RunStore,
    claims: ClaimStore,
    profiles: ApiProfileStore,
    learnt: ApiProfile | None = None,
    exemptions: tuple[KeepEntry, ...] = (),
) -> Session:
    """Make a session with a simulated cloud in this process.

    Args:
        network: the way to the simulated cloud.
        api_key: the key of the simulated cloud.
        endpoint: the cloud on record.
        settings: the settings.
        limits: the limits of the run.
        clock: the virtual clocks.
        rng: the source of jitter.
        store: the store of runs.
        claims: the store of claims.
        profiles: the store of API profiles.
        learnt: the profile of the API.
        exemptions: the exemptions; nothing else is read.
    """
    learnt = learnt or ApiProfile()
    timeout = settings.cloud.timeout
    target = Destination(
        base_url=ADDRESS,
        headers={"X-API-Key": api_key, "X-Phala-Version": settings.cloud.api_version},
        timeout=timeout,
        connections=limits.max_in_flight,
    )
    cloud = PhalaCloud(Http(ThroughHttpx(target, network), timeout, now=clock.now), wall=clock.wall)
    finder = None
    rate = limits.requests_per_second
    if limits.adaptive:
        finder = AdaptiveRate(with_headroom(limits.burst), now=clock.now(), known=known_rate(learnt))
        rate = finder.rate
    has_rate = workspace_rate(settings) is not None and not limits.adaptive
    burst = min(limits.burst, settings.rate.burst) if has_rate else limits.burst  # as in the budget of a workspace
    budget = Gcra(rate, with_headroom(burst))
    client: Cloud = cloud if finder is None else AdaptiveCloud(cloud, finder, budget, clock)
    return OfflineSession(
        settings,
        endpoint,
        limits,
        client,
        Gate(budget, limits.max_in_flight, clock),
        clock,  # type: ignore[arg-type] # the clocks of the engine are enough
        rng,
        batch_size=min(settings.settle.batch_size, learnt.batch_size or settings.settle.batch_size),
        batch_missing=learnt.batch_missing,
        identify=cloud.read_workspace,
        store=store,
        claims=claims,
        profiles=profiles,
        finder=finder,
        settle_seconds=learnt.settle,
        says_simulated=lambda: True,
        exemptions=exemptions,
    )


@dataclass(frozen=True, slots=True)
class OfflineSession(Session):
    """A session with the exemptions of the inventory.

    Attributes:
        exemptions: the exemptions, expired exemptions too.
    """

    exemptions: tuple[KeepEntry, ...] = ()

    def read_keep(self, ignored: str | None = None) -> KeepList | None:
        """Return the exemptions in force now, as `Session.read_keep`."""
        return KeepList.at(self.exemptions, self.clock.wall(), ignored) if self.exemptions else None


class LogDisk:
    """The writing of the log by a process, without a sync: the log ends with the rehearsal.

    Attributes:
        is_dead: whether the process was killed; a dead process writes nothing.
    """

    def __init__(self) -> None:
        self.is_dead = False

    async def write(self, write: PendingWrite) -> None:
        """Write a batch of lines."""
        if not self.is_dead:
            write.write()


class RehearsedRun(FileRun):
    """A log in the folder of a rehearsal."""

    def __init__(self, path: Path, disk: LogDisk, wall: Callable[[], datetime]) -> None:
        super().__init__(path)
        self._disk, self._wall = disk, wall

    def open_log(self, take: Take) -> tuple[AuditLog, Reading]:
        """Lock and read the log, as `StoredRun.open_log`."""
        return AuditLog.reopen(self.path, take, wall=self._wall, sync=self._disk.write)


class RehearsedRunStore(FileRunStore):
    """The runs in the folder of a rehearsal, written by a single process."""

    def __init__(self, folder: Path, disk: LogDisk, wall: Callable[[], datetime]) -> None:
        super().__init__(folder)
        self._disk, self._wall = disk, wall

    def get_run(self, run_id: str) -> RehearsedRun:
        """Return a run by its id."""
        return RehearsedRun(self.path_of(run_id), self._disk, self._wall)

    def create_log(
        self, run_id: str, first: Iterable[tuple[str, dict[str, object]]], observers: Iterable[Observer] = ()
    ) -> AuditLog:
        """Create the log of a new run, as `RunStore.create_log`."""
        path = self.path_of(run_id)
        return AuditLog.create(path, run_id, first, observers=observers, wall=self._wall, sync=self._disk.write)


class NoClaim:
    """The claim of a rehearsed run: no other run acts on the simulated CVMs.

    Attributes:
        run_id: the run.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the claim."""

    def wait_before_reading(self, since: float, recheck_after: float) -> float | None:
        """Return None: the earlier statuses hold."""
        del since, recheck_after
        return None

    def keep_only(self, refs: Iterable[CvmRef]) -> None:
        """Do nothing."""

    async def claim_again(self, recheck_after: float, waiting: Callable[[str], None]) -> float | None:
        """Return None: the earlier statuses hold."""
        del recheck_after, waiting
        return None

    def release(self, *, has_ended: bool) -> None:
        """Do nothing."""


class NoClaimStore:
    """The claims of a rehearsal, as `ClaimStore`."""

    def create_claim(
        self, run_id: str, cloud_url: str, refs: Iterable[CvmRef], *, ignore_running: bool = False
    ) -> Claim:
        """Claim CVMs for a run."""
        del cloud_url, refs, ignore_running
        return NoClaim(run_id)

    @contextmanager
    def open_batch(self) -> Iterator["NoClaimStore"]:
        """Claim CVMs for many runs."""
        yield self

    def is_any_live(self, run_ids: Iterable[str]) -> bool:
        """Return False: no other run is live."""
        del run_ids
        return False


class NoProfileStore:
    """The API profiles of a rehearsal, as `ApiProfileStore`: a rehearsal teaches nothing about the API."""

    def read_profile(self, base_url: str, workspace: str, now: datetime) -> ApiProfile:
        """Return an empty profile."""
        del base_url, workspace, now
        return ApiProfile()

    def merge_profile(self, base_url: str, workspace: str, learnt: ApiProfile, now: datetime) -> None:
        """Do nothing."""
