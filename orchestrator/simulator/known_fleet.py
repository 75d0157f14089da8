"""Load a known fleet into a world: given identities, places, prices and statuses.

Unknown apps, teepods, UUIDs and uptimes stay unknown; other unknown facts are made up.
A generated fleet, listed and loaded with its own seed and settings, has its settle times again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from orchestrator.simulator.fleet import CvmFactory
from orchestrator.simulator.instance_types import BY_ID, INSTANCE_TYPES, InstanceType
from orchestrator.simulator.machine import SimulatedCvm, Teepod
from orchestrator.simulator.settings import SimulatorSettings
from orchestrator.simulator.timeline import CvmPhase, Operation, Timeline
from orchestrator.simulator.world import DEFAULT_EPOCH, World

_UNKNOWN = "unknown"
_DAY = 86_400.0
_COMING_UP = frozenset({"starting", "restarting", "creating"})
_GOING_DOWN = frozenset({"stopping", "shutting_down"})
_METERED = frozenset({"running", "starting", "restarting"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCvm:
    """The facts of a CVM at the start of a world; None for an unknown fact.

    Attributes:
        hashid: the id `cvm_…`.
        uuid: the UUID.
        instance_id: another identifier.
        name: the name.
        app_id: the app.
        teepod_id: the number of the teepod.
        teepod: the name of the teepod.
        region: the region of the teepod.
        instance_type: the instance type.
        gpus: the number of GPUs.
        usd_per_hour: the compute price while running.
        disk_gb: the size of the disk.
        billing_period: `hourly`, `monthly` or `skip`.
        gpu_rental: whether a GPU rental manages the CVM.
        status: the status.
        in_progress: whether an operation holds the CVM.
        age: seconds since the creation.
        uptime: seconds since the CVM began to run.
    """

    hashid: str | None = None
    uuid: str | None = None
    instance_id: str | None = None
    name: str = ""
    app_id: str | None = None
    teepod_id: int | None = None
    teepod: str | None = None
    region: str | None = None
    instance_type: str | None = None
    gpus: int | None = None
    usd_per_hour: Decimal | None = None
    disk_gb: int | None = None
    billing_period: str | None = None
    gpu_rental: bool = False
    status: str = "running"
    in_progress: bool = False
    age: float | None = None
    uptime: float | None = None


def load_world(known: Sequence[KnownCvm], *, settings: SimulatorSettings, epoch: datetime = DEFAULT_EPOCH) -> World:
    """Make a world with a known fleet.

    Args:
        known: the CVMs, newest first, as in a list of the API.
        settings: the settings; the section `fleet` gives only the seed.
        epoch: the calendar time at the start of the world.
    """
    world = World(settings, epoch=epoch)
    loader = _Loader(world)
    world.teepods = loader.list_teepods(known)
    for each in reversed(known):
        world.add_known_cvm(loader.make_cvm(each, world.cvm_factory))
    world.instance_types = loader.list_instance_types()
    return world


@dataclass
class _Loader:
    """The teepods and instance types of a known fleet."""

    world: World
    teepods: dict[tuple[int | None, str | None], Teepod] = field(default_factory=dict)
    types: dict[tuple[str, Decimal | None, int | None], InstanceType] = field(default_factory=dict)

    def list_teepods(self, known: Iterable[KnownCvm]) -> list[Teepod]:
        """List the teepods, each once."""
        for each in known:
            self.teepods.setdefault((each.teepod_id, each.teepod), Teepod(each.teepod_id, each.teepod, each.region))
        return list(self.teepods.values())

    def list_instance_types(self) -> tuple[InstanceType, ...]:
        """List the instance types on offer: the usual types, and the types of the fleet with their first price."""
        found = {kind.id: kind for kind in reversed(self.types.values())}
        return tuple({**BY_ID, **found}.values())

    def make_cvm(self, known: KnownCvm, factory: CvmFactory) -> SimulatedCvm:
        """Make a CVM with the known facts."""
        age = known.age if known.age is not None else max(_DAY, known.uptime or 0.0)
        app = self.world.apps.get(known.app_id or "")
        if app is None:
            app = factory.make_app(known.name, created=-age)
            app.app_id = known.app_id or app.app_id
            self.world.apps[app.app_id] = app
        cvm = factory.make_cvm(
            app,
            known.name,
            teepod=self.teepods[known.teepod_id, known.teepod],
            instance_type=self._find_type(known),
            created=-age,
            status=known.status,
            gpu_rental=known.gpu_rental,
        )
        cvm.hashid = known.hashid or cvm.hashid
        cvm.instance_id = known.instance_id or cvm.instance_id
        cvm.app_hidden = known.app_id is None
        cvm.uptime_hidden = known.uptime is None
        cvm.billing_period = known.billing_period or cvm.billing_period
        cvm.disk_gb = known.disk_gb if known.disk_gb is not None else cvm.disk_gb
        if known.uuid is None:
            cvm.uuid_hidden_until = float("inf")
        else:
            cvm.uuid = known.uuid
        cvm.timeline = _make_timeline(known, cvm)
        return cvm

    def _find_type(self, known: KnownCvm) -> InstanceType:
        key = known.instance_type or _UNKNOWN, known.usd_per_hour, known.gpus
        if key not in self.types:
            usual = BY_ID.get(key[0], INSTANCE_TYPES[0])
            rate = usual.hourly_rate if known.usd_per_hour is None else known.usd_per_hour
            gpus = usual.gpus if known.gpus is None else known.gpus
            family = "gpu" if gpus else "cpu"
            self.types[key] = InstanceType(
                key[0], key[0], family, usual.vcpu, usual.memory_mb, rate, gpus, usual.default_disk_gb
            )
        return self.types[key]


def _make_timeline(known: KnownCvm, cvm: SimulatedCvm) -> Timeline:
    """Make the phases of a CVM: its status, and the end of an operation in progress."""
    since = cvm.created if known.uptime is None else max(cvm.created, -known.uptime)
    operation, after = None, None
    if known.in_progress:
        is_down = known.status in _GOING_DOWN
        kind, target = ("power_off", "stopped") if is_down else ("power_on", "running")
        operation = Operation(f"operation-of-{cvm.number}", kind, target, 0.0)
        if is_down:
            after = CvmPhase(cvm.delays.stop, "stopped")
        elif known.status in _COMING_UP:
            after = CvmPhase(cvm.delays.start, "running", metered=True)
    phases = [CvmPhase(since, known.status, operation, metered=known.status in _METERED)]
    if since > cvm.created:
        phases.insert(0, CvmPhase(cvm.created, "stopped"))
    if after is not None:
        phases.append(after)
    timeline = Timeline(phases[0])
    timeline.replace_after(phases[0].at, phases[1:])
    return timeline
