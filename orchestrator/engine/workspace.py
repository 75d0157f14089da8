"""Workspace: the parts of a run for one API key, and a cloud with an observer of every reply."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Protocol, TypeVar

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.breaker import Breaker, Outage
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.read.status import StatusReader
from orchestrator.outcome import Ending
from orchestrator.reply import BatchStopped, OperationsPage, Page, Reply, StatusRead

_T = TypeVar("_T")


class ObservedCloud:
    """Cloud wrapper: passes requests on, and calls the observer with the reply before returning the reply."""

    def __init__(self, cloud: Cloud, on_reply: Callable[[Reply[object]], None]) -> None:
        self._cloud, self._on_reply = cloud, on_reply

    def __repr__(self) -> str:
        return f"<ObservedCloud of {self._cloud!r}>"

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        """Read a page of the workspace's CVMs; pages count from 1."""
        return self._pass_on(await self._cloud.list_page(page, page_size))

    async def list_app(self, app_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the CVMs of an app."""
        return self._pass_on(await self._cloud.list_app(app_id))

    async def read_cvm(self, ref: CvmRef) -> Reply[Cvm]:
        """Read the details of a CVM."""
        return self._pass_on(await self._cloud.read_cvm(ref))

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        """Read the details of a CVM by one of its identifiers."""
        return self._pass_on(await self._cloud.read_by_id(cvm_id))

    async def price_list(self) -> Reply[Mapping[str, Decimal]]:
        """Read the price list: USD per hour by instance type."""
        return self._pass_on(await self._cloud.price_list())

    async def act(self, action: Action, ref: CvmRef) -> Reply[StatusRead]:
        """Send the request of an action on a CVM."""
        return self._pass_on(await self._cloud.act(action, ref))

    async def stop_many(self, hashids: Sequence[str]) -> Reply[BatchStopped]:
        """Stop up to 50 CVMs with a single request: cut their power."""
        return self._pass_on(await self._cloud.stop_many(hashids))

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        """Read the statuses of many CVMs, by UUID in normal form; some may be missing from the answer."""
        return self._pass_on(await self._cloud.read_statuses(uuids))

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        """Read the status of a CVM."""
        return self._pass_on(await self._cloud.read_state(ref))

    async def read_operations(self, ref: CvmRef) -> Reply[OperationsPage]:
        """Read the newest operations of a CVM."""
        return self._pass_on(await self._cloud.read_operations(ref))

    def _pass_on(self, reply: Reply[_T]) -> Reply[_T]:
        self._on_reply(reply)
        return reply


class WorkspaceObserver(Protocol):
    """Receiver of a workspace's troubles."""

    def halt(self, ending: Ending) -> None:
        """End the run: the API refuses the key, or was down for too long."""
        ...

    def check_interruption(self) -> None:
        """Check an interrupted run: no status of this workspace can be read for a while."""
        ...


class Workspace:
    """Cloud, gate, status reader and circuit breaker of one API key.

    Attributes:
        cloud: receives the requests; the breaker and the check of the key see every reply.
        gate: rate limit and concurrency limit for every request.
        reader: reads statuses.
        breaker: closes the gate while the API is down.
        observer: receives the workspace's troubles; None before the run is set up.
    """

    def __init__(
        self,
        cloud: Cloud,
        gate: Gate,
        clock: Clock,
        rng: Random,
        settle: SettleSettings,
        *,
        size: int = 0,
        on_outage: Callable[[Outage | None], None] = lambda _outage: None,
    ) -> None:
        """Set up.

        Args:
            cloud: receives the requests.
            gate: rate limit and concurrency limit for every request.
            clock: the engine's clock.
            rng: source of jitter.
            settle: settings of the reader and of the breaker.
            size: number of CVMs in the list; 0 if the list was not read.
            on_outage: called with the outage when the API goes down, and with None when the API answers again.
        """
        self.gate = gate
        self.observer: WorkspaceObserver | None = None
        self._on_outage = on_outage
        self._unobserved = cloud
        self.breaker = Breaker(gate, clock, self, give_up_after=settle.cloud_down)
        self.cloud = ObservedCloud(cloud, self._on_reply)
        self.reader = StatusReader(
            cloud=self.cloud,
            gate=gate,
            clock=clock,
            rng=rng,
            batch_size=settle.batch_size,
            batch_missing=settle.batch_missing,
            workspace_size=size,
        )
        gate.on_long_pause.append(lambda _seconds: self._check_interruption())

    def _on_reply(self, reply: Reply[object]) -> None:
        self.breaker.on_reply(reply)
        if reply.says_key_refused:
            self._halt(Ending.KEY_REFUSED)

    async def send_probe(self) -> Reply[Page]:
        """Read one CVM of the list.

        Probes are not observed: the breaker evaluates their replies, and the first success closes the breaker.
        """
        return await self._unobserved.list_page(1, 1)

    def on_give_up(self) -> None:
        """End the run: the API was down for too long."""
        self._halt(Ending.CLOUD_DOWN)

    def on_outage_change(self, outage: Outage | None) -> None:
        """Report an outage, or its end; an interrupted run then stops watching."""
        self._on_outage(outage)
        if outage is not None:
            self._check_interruption()

    def _halt(self, ending: Ending) -> None:
        if self.observer is not None:
            self.observer.halt(ending)

    def _check_interruption(self) -> None:
        if self.observer is not None:
            self.observer.check_interruption()
