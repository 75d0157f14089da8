"""The fleet of a rehearsal: an inventory of the cloud, loaded into the simulator."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from orchestrator.cvm import Cvm
from orchestrator.playbook.keep import KeepEntry
from orchestrator.simulator.known_fleet import KnownCvm, load_world
from orchestrator.simulator.settings import SimulatorSettings
from orchestrator.simulator.world import World


@dataclass(frozen=True, slots=True)
class Fleet:
    """An inventory at one moment.

    Attributes:
        cvms: the CVMs, in the order of the list.
        read_at: the time of the read; the rehearsal begins at this time of day.
        workspace: the id of the workspace; None if unknown.
        source: the source, for people.
        latency: seconds of a request, if measured; else 0.
        is_stable: whether the list did not change during the read.
        exemptions: the exemptions, expired exemptions too.
    """

    cvms: tuple[Cvm, ...]
    read_at: datetime
    workspace: str | None
    source: str
    latency: float = 0.0
    is_stable: bool = True
    exemptions: tuple[KeepEntry, ...] = ()

    @property
    def teepods(self) -> set[str]:
        """The names of the teepods."""
        return {cvm.ref.teepod for cvm in self.cvms if cvm.ref.teepod is not None}

    def make_world(self, settings: SimulatorSettings) -> World:
        """Load the fleet into a simulated cloud."""
        return load_world(list(self._list_known()), settings=settings, epoch=self.read_at)

    def _list_known(self) -> Iterator[KnownCvm]:
        for cvm in self.cvms:
            ref, prices = cvm.ref, (cvm.hourly_compute, cvm.usd_per_hour, cvm.billing_price)
            age = cvm.age
            if age is None and cvm.created_at is not None:
                age = max(0.0, (self.read_at - cvm.created_at).total_seconds())
            yield KnownCvm(
                hashid=ref.id,
                uuid=ref.vm_uuid,
                instance_id=cvm.instance_id,
                name=ref.name,
                app_id=ref.app_id,
                teepod_id=ref.teepod_id,
                teepod=ref.teepod,
                region=cvm.region,
                instance_type=cvm.instance_type,
                gpus=cvm.gpus,
                usd_per_hour=next((price for price in prices if price is not None), None),
                disk_gb=None if cvm.disk_gb is None else round(cvm.disk_gb),
                billing_period=cvm.billing_period,
                gpu_rental=cvm.gpu_rental,
                status=cvm.status,
                in_progress=cvm.in_progress,
                age=age,
                uptime=cvm.uptime,
            )
