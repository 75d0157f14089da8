"""The entities of the simulated cloud: teepods, apps and CVMs."""

from dataclasses import dataclass, field
from decimal import Decimal

from orchestrator.simulator.instance_types import STORAGE_USD_PER_GB_HOUR, InstanceType
from orchestrator.simulator.settings import Behaviour
from orchestrator.simulator.timeline import GONE, CvmPhase, Operation, Timeline

_DOWN = frozenset({"stopped", "exited", "stopping", "shutting_down", GONE})


@dataclass(frozen=True, slots=True)
class Teepod:
    """A host node: numeric id, name, region and `ONLINE`, `OFFLINE` or `MAINTENANCE`; None for an unlisted fact."""

    id: int | None
    name: str | None
    region: str | None
    status: str = "ONLINE"


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds for a stop, a shutdown and a start of a CVM."""

    stop: float
    shutdown: float
    start: float


@dataclass(slots=True, eq=False)
class SimulatedCvm:
    """A CVM with its identifiers, its statuses over time and its operations.

    Attributes:
        number: the integer id.
        hashid: the id `cvm_…`.
        uuid: the UUID with dashes; shown as null until `uuid_hidden_until` (seconds).
        created: time of creation, in seconds since the world began (usually negative).
        app_hidden: True if lists and details show no app.
        uptime_hidden: True if statuses show no uptime.
        gpu_rental: True if an on-demand GPU rental manages the CVM; its stops are refused.
        effective_stops: number of stops and shutdowns that took the CVM from up to going down.
        stop_attempts: number of requested stops and shutdowns, with or without effect.
        first_attempt: time of the first such request; None before.
        operations: every operation begun, oldest first.
    """

    number: int
    hashid: str
    uuid: str
    instance_id: str
    app: "App"
    name: str
    teepod: Teepod
    instance_type: InstanceType
    disk_gb: int
    delays: Delays
    created: float
    timeline: Timeline
    billing_period: str = "hourly"
    gpu_rental: bool = False
    app_hidden: bool = False
    uptime_hidden: bool = False
    behaviour: Behaviour | None = None
    uuid_hidden_until: float = float("-inf")
    effective_stops: int = 0
    stop_attempts: int = 0
    first_attempt: float | None = None
    operations: list[Operation] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<SimulatedCvm {self.name} {self.hashid} on {self.teepod.name}: {self.timeline!r}>"

    def phase_at(self, now: float) -> CvmPhase:
        """The phase of the CVM at this moment."""
        return self.timeline.phase_at(now)

    def exists(self, now: float) -> bool:
        """Return True if the CVM is not deleted at this moment."""
        return self.timeline.phase_at(now).status != GONE

    def is_up(self, now: float) -> bool:
        """Return True if the CVM is neither down nor on its way down."""
        return self.timeline.phase_at(now).status not in _DOWN

    def vm_uuid(self, now: float) -> str | None:
        """The UUID at this moment; None during the creation of the CVM."""
        return None if now < self.uuid_hidden_until else self.uuid

    @property
    def compute_rate(self) -> Decimal:
        """US dollars per hour for compute while the CVM is up."""
        return self.instance_type.hourly_rate

    @property
    def disk_rate(self) -> Decimal:
        """US dollars per hour for its disk, up or down."""
        return STORAGE_USD_PER_GB_HOUR * self.disk_gb


@dataclass(slots=True, eq=False)
class App:
    """A deployment: `app_id` (40 hex digits), its project id `prj_…` and number, and its CVMs, oldest first."""

    app_id: str
    project_id: str
    number: int
    name: str
    created: float
    members: list[SimulatedCvm] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<App {self.name} {self.app_id} with {len(self.members)} CVMs>"
