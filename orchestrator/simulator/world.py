"""The state of the simulated cloud: its CVMs, the search for a CVM, and the workspace.

Time is an argument everywhere: `now` is in seconds since the world began, at the calendar time `epoch`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from orchestrator.simulator.fleet import CvmFactory, assign_behaviour, choose_cvms, make_fleet, make_teepods
from orchestrator.simulator.instance_types import BY_ID, INSTANCE_TYPES, InstanceType
from orchestrator.simulator.machine import App, SimulatedCvm, Teepod
from orchestrator.simulator.randomness import random_hex, seeded_random
from orchestrator.simulator.refusals import ambiguous_identifier, app_not_found, cvm_not_found, shared_name
from orchestrator.simulator.settings import Behaviour, BehaviourKind, SimulatorSettings
from orchestrator.simulator.timeline import GONE, CvmPhase, Operation

DEFAULT_EPOCH = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


class World:
    """A simulated cloud with a single workspace.

    Attributes:
        settings: the settings of the simulator.
        epoch: the calendar time at `now` = 0.
        teepods: the host nodes.
        apps: the apps by app_id, oldest first.
        api_key: the workspace's only API key.
        instance_types: the instance types on offer.
        cvm_factory: makes apps and CVMs with identifiers of this world.
    """

    def __init__(self, settings: SimulatorSettings, *, epoch: datetime = DEFAULT_EPOCH) -> None:
        """Make an empty world with teepods and without CVMs."""
        self.settings = settings
        self.epoch = epoch
        self.teepods = make_teepods(settings.fleet)
        self.apps: dict[str, App] = {}
        seed = settings.fleet.seed
        self.api_key = f"phak_{random_hex(seeded_random(seed, 'api key'), 40)}"
        self.instance_types: tuple[InstanceType, ...] = INSTANCE_TYPES
        self.cvm_factory = CvmFactory(seed, settings.timing)
        self._operation_ids = seeded_random(seed, "operations")
        self._newest_first: list[SimulatedCvm] = []  # this index and the next four include deleted CVMs
        self._by_hashid: dict[str, SimulatedCvm] = {}
        self._by_uuid: dict[str, SimulatedCvm] = {}
        self._by_instance: dict[str, SimulatedCvm] = {}
        self._by_name: dict[str, list[SimulatedCvm]] = {}
        self._may_have_deleted = False  # while False, lists need no filter

    def __repr__(self) -> str:
        return f"<World of {len(self._newest_first)} CVMs on {len(self.teepods)} teepods>"

    @classmethod
    def generate(
        cls,
        *,
        cvms: int | None = None,
        seed: int | None = None,
        settings: SimulatorSettings | None = None,
        epoch: datetime = DEFAULT_EPOCH,
    ) -> "World":
        """Make a world with a fleet; `cvms` and `seed` override the settings."""
        world = cls((settings or SimulatorSettings()).with_fleet(cvms=cvms, seed=seed), epoch=epoch)
        for app in make_fleet(world.settings, world.cvm_factory, world.teepods):
            world.apps[app.app_id] = app
            for cvm in app.members:
                world.add_known_cvm(cvm)
        rng = seeded_random(world.settings.fleet.seed, "behaviours")
        for behaviour in world.settings.behaviour:
            for cvm in choose_cvms(behaviour, world.cvms, rng):
                world.set_behaviour(cvm, behaviour)
        return world

    @property
    def cvms(self) -> list[SimulatedCvm]:
        """Every CVM ever created, oldest first."""
        return self._newest_first[::-1]

    def calendar_time(self, now: float) -> datetime:
        """The UTC date and time of a moment."""
        return self.epoch + timedelta(seconds=now)

    def visible_cvms(self, now: float) -> Sequence[SimulatedCvm]:
        """The existing CVMs at a moment, newest first: the order of every list."""
        if not self._may_have_deleted:
            return self._newest_first
        return [cvm for cvm in self._newest_first if cvm.exists(now)]

    def new_operation(self, kind: str, target: str, now: float) -> Operation:
        """Make an operation with a new correlation id, begun now."""
        return Operation(random_hex(self._operation_ids, 32), kind, target, now)

    # Finding ------------------------------------------------------------------------------------------------------

    def find_cvm(self, identifier: str, now: float) -> SimulatedCvm:
        """Find the only CVM for the `{cvm_id}` of a path; raises a refusal for no match or several."""
        text = identifier.strip()
        lower = text.lower()
        cvm = self._by_hashid.get(text)
        if cvm is None:
            cvm = self._by_uuid.get(lower.replace("-", ""))
            if cvm is not None and cvm.vm_uuid(now) is None:
                cvm = None
        bare = lower.removeprefix("app_").removeprefix("0x")
        if cvm is None and bare in self.apps:
            members = [member for member in self.apps[bare].members if member.exists(now)]
            return self._require_one(members, cvm_not_found(identifier), ambiguous_identifier(identifier, len(members)))
        cvm = cvm or self._by_instance.get(bare.removeprefix("instance_"))
        if cvm is not None:
            return self._require_one(
                [cvm] if cvm.exists(now) else [], cvm_not_found(identifier), cvm_not_found(identifier)
            )
        namesakes = [namesake for namesake in self._by_name.get(text, ()) if namesake.exists(now)]
        return self._require_one(namesakes, cvm_not_found(identifier), shared_name(text, len(namesakes)))

    @staticmethod
    def _require_one(found: list[SimulatedCvm], none: Exception, several: Exception) -> SimulatedCvm:
        if not found:
            raise none
        if len(found) > 1:
            raise several
        return found[0]

    def find_by_hashid(self, hashid: str) -> SimulatedCvm | None:
        """Find the CVM with exactly this id, deleted or not."""
        return self._by_hashid.get(hashid)

    def find_by_uuid(self, uuid: str, now: float) -> SimulatedCvm | None:
        """Find the existing CVM with this UUID, written with or without dashes."""
        cvm = self._by_uuid.get(uuid.replace("-", "").lower())
        return cvm if cvm is not None and cvm.exists(now) and cvm.vm_uuid(now) else None

    def find_by_name(self, name: str) -> SimulatedCvm:
        """Find the oldest CVM of a name, for tests and demonstrations; raises `KeyError` for an unknown name."""
        return self._by_name[name][0]

    def find_app(self, identifier: str) -> App:
        """Find the app with this id, bare or with `0x` or `app_`; raises a refusal for an unknown id."""
        app = self.apps.get(identifier.strip().lower().removeprefix("app_").removeprefix("0x"))
        if app is None:
            raise app_not_found(identifier)
        return app

    # Changing from outside ----------------------------------------------------------------------------------------

    def add_cvm(
        self,
        name: str,
        *,
        teepod: str | None = None,
        app_id: str | None = None,
        status: str = "running",
        instance_type: str = "tdx.small",
        gpu_rental: bool = False,
        now: float = 0.0,
    ) -> SimulatedCvm:
        """Create a CVM: in a new app unless `app_id` exists, on the named teepod or else the first teepod."""
        place: Teepod = next((pod for pod in self.teepods if pod.name == teepod), self.teepods[0])
        app = self.apps.get(app_id or "")
        if app is None:
            app = self.cvm_factory.make_app(name, created=now, app_id=app_id)
            self.apps[app.app_id] = app
        kind = BY_ID[instance_type]
        cvm = self.cvm_factory.make_cvm(
            app, name, teepod=place, instance_type=kind, created=now, status=status, gpu_rental=gpu_rental
        )
        self.add_known_cvm(cvm)
        return cvm

    def delete_cvm(self, cvm: SimulatedCvm, now: float) -> None:
        """Delete a CVM: from now on requests for the CVM answer 404 and no list shows the CVM."""
        self.set_status(cvm, GONE, now)

    def set_status(self, cvm: SimulatedCvm, status: str, now: float, *, in_progress: bool = False) -> None:
        """Set a status as another user would; the phases foreseen for the CVM no longer happen."""
        operation = self.new_operation("unknown", status, now) if in_progress else None
        cvm.timeline.replace_after(now, [CvmPhase(now, status, operation, metered=status == "running")])
        self._may_have_deleted = self._may_have_deleted or status == GONE

    def set_behaviour(
        self, cvm: SimulatedCvm | str, behaviour: Behaviour | BehaviourKind | None, now: float = 0.0
    ) -> SimulatedCvm:
        """Give a CVM (or the CVM of that name) a behaviour from now on; None removes the behaviour."""
        machine = self.find_by_name(cvm) if isinstance(cvm, str) else cvm
        rule = Behaviour(kind=behaviour, names=(machine.name,)) if isinstance(behaviour, str) else behaviour
        assign_behaviour(machine, rule, now)
        self._may_have_deleted = self._may_have_deleted or (rule is not None and rule.kind == "vanishes")
        return machine

    def add_known_cvm(self, cvm: SimulatedCvm) -> None:
        """Add a CVM with all its facts, newer than every present CVM."""
        self._newest_first.insert(0, cvm)
        self._by_hashid[cvm.hashid] = cvm
        self._by_uuid[cvm.uuid.replace("-", "").lower()] = cvm
        self._by_instance[cvm.instance_id] = cvm
        self._by_name.setdefault(cvm.name, []).append(cvm)
