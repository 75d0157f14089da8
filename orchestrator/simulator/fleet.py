"""Make up a fleet: teepods, apps with their replicas, and CVMs with readable names; same seed, same fleet."""

import uuid
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import count
from random import Random

from orchestrator.simulator.instance_types import CPU_TYPES, GPU_TYPES, InstanceType
from orchestrator.simulator.machine import App, Delays, SimulatedCvm, Teepod
from orchestrator.simulator.randomness import draw_between, random_hex, seeded_random
from orchestrator.simulator.settings import Behaviour, FleetSettings, SimulatorSettings, TimingSettings
from orchestrator.simulator.timeline import BEFORE_ALL, CvmPhase, Operation, Timeline

DAY = 86_400.0
_ESSENTIAL = ("kms", "gateway")
_SERVICES = ("api", "worker", "batch", "indexer", "relay", "oracle", "agent", "cache", "bridge", "scheduler", "store")
_REGIONS = ("us-west-1", "us-east-1", "eu-west-1", "ap-south-1")
_CVMS_PER_TEEPOD = 40
_FEWEST_TEEPODS = 3
_MOST_REPLICAS = 6
_OLDEST_DAYS = 90
_MOST_ESSENTIAL = 3
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def make_teepods(fleet: FleetSettings) -> list[Teepod]:
    """Make the host nodes: the names in the settings, else `prod-1`, `prod-2`, …, a teepod for about 40 CVMs."""
    if fleet.teepod_names:
        names = list(fleet.teepod_names)
    else:
        fewest = min(_FEWEST_TEEPODS, max(1, fleet.cvms))
        number = fleet.teepods or max(fewest, round(fleet.cvms / _CVMS_PER_TEEPOD))
        names = [f"prod-{index}" for index in range(1, number + 1)]
    return [Teepod(101 + index, name, _REGIONS[index % len(_REGIONS)]) for index, name in enumerate(names)]


class CvmFactory:
    """Makes apps and CVMs with identifiers unique within a world."""

    def __init__(self, seed: int, timing: TimingSettings) -> None:
        self._rng = seeded_random(seed, "identifiers")
        self._timing = timing
        self._numbers = count(1001)
        self._projects = count(501)

    def make_app(self, name: str, *, created: float, app_id: str | None = None) -> App:
        """Make a new app without CVMs."""
        project_id = f"prj_{self._short_id()}"
        return App(app_id or random_hex(self._rng, 40), project_id, next(self._projects), name, created)

    def make_cvm(
        self,
        app: App,
        name: str,
        *,
        teepod: Teepod,
        instance_type: InstanceType,
        created: float,
        status: str,
        gpu_rental: bool = False,
    ) -> SimulatedCvm:
        """Make a new CVM of an app, with the same status since its creation."""
        timing = self._timing
        cvm = SimulatedCvm(
            number=next(self._numbers),
            hashid=f"cvm_{self._short_id()}",
            uuid=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            instance_id=random_hex(self._rng, 40),
            app=app,
            name=name,
            teepod=teepod,
            instance_type=instance_type,
            disk_gb=instance_type.default_disk_gb,
            delays=Delays(
                draw_between(self._rng, timing.stop_seconds),
                draw_between(self._rng, timing.shutdown_seconds),
                draw_between(self._rng, timing.start_seconds),
            ),
            created=created,
            timeline=Timeline(CvmPhase(created, status, metered=status == "running")),
            gpu_rental=gpu_rental,
        )
        app.members.append(cvm)
        return cvm

    def _short_id(self) -> str:
        return "".join(self._rng.choices(_ALPHABET, k=12))


def make_fleet(settings: SimulatorSettings, factory: CvmFactory, teepods: list[Teepod]) -> list[App]:
    """Make the apps and CVMs of a fleet of the size in the settings."""
    fleet = settings.fleet
    rng = seeded_random(fleet.seed, "fleet")
    places = [teepods[index % len(teepods)] for index in range(fleet.cvms)]
    rng.shuffle(places)
    apps: list[App] = []
    names = _generate_names(fleet, rng)
    for index, teepod in enumerate(places):
        service, name, first_of_app = next(names)
        created = -DAY * (1 + _OLDEST_DAYS * (1 - index / fleet.cvms))
        if first_of_app:
            apps.append(factory.make_app(service, created=created))
        essential = service.startswith(_ESSENTIAL)
        draw, kind = rng.random(), rng.choice(CPU_TYPES)
        rental = not essential and draw < fleet.rental_share
        if not essential and draw < fleet.rental_share + fleet.gpu_share:
            kind = rng.choice(GPU_TYPES)
        stopped = rng.random() < fleet.stopped_share and not essential and not rental
        factory.make_cvm(
            apps[-1],
            name,
            teepod=teepod,
            instance_type=kind,
            created=created,
            status="stopped" if stopped else "running",
            gpu_rental=rental,
        )
    return apps


def _generate_names(fleet: FleetSettings, rng: Random) -> Iterator[tuple[str, str, bool]]:
    """Endless (app name, CVM name, begins an app); the names in the settings come first."""
    for name in fleet.names:
        yield name.rstrip("0123456789").rstrip("-") or name, name, True
    numbers = {service: count(1) for service in (*_ESSENTIAL, *_SERVICES)}
    deployments = {service: count(1) for service in (*_ESSENTIAL, *_SERVICES)}
    essentials = min(_MOST_ESSENTIAL, max(1, fleet.cvms // 20)) if fleet.cvms > len(_ESSENTIAL) else 0
    for service in _ESSENTIAL:
        for index in range(essentials):
            yield service, f"{service}-{next(numbers[service])}", index == 0
    while True:
        service = rng.choice(_SERVICES)
        deployment = next(deployments[service])
        app_name = service if deployment == 1 else f"{service}-app{deployment}"
        for index in range(rng.randint(1, _MOST_REPLICAS)):
            yield app_name, f"{service}-{next(numbers[service])}", index == 0


def choose_cvms(behaviour: Behaviour, cvms: list[SimulatedCvm], rng: Random) -> list[SimulatedCvm]:
    """Choose CVMs for a behaviour: running CVMs without a behaviour and with matching names, up to its count."""
    fitting = [cvm for cvm in cvms if cvm.behaviour is None and cvm.is_up(0.0)]
    if behaviour.names:
        fitting = [cvm for cvm in fitting if any(fnmatchcase(cvm.name, name) for name in behaviour.names)]
    if behaviour.count is None:
        return fitting
    return rng.sample(fitting, min(behaviour.count, len(fitting)))


def assign_behaviour(cvm: SimulatedCvm, behaviour: Behaviour | None, now: float) -> None:
    """Give a CVM this behaviour from `now` on; None removes its behaviour."""
    cvm.behaviour = behaviour
    cvm.gpu_rental = cvm.gpu_rental or (behaviour is not None and behaviour.kind == "refuses")
    cvm.stop_attempts, cvm.first_attempt = 0, None
    if behaviour is None or behaviour.kind != "null_uuid":
        return
    creating = Operation(f"creation-of-{cvm.number}", "create", "running", now)
    since = BEFORE_ALL if now <= 0 else now
    if behaviour.seconds is None:
        cvm.uuid_hidden_until = float("inf")
        cvm.timeline.replace_after(since, [CvmPhase(max(since, cvm.created), "creating", creating)])
        return
    ready = now + behaviour.seconds
    cvm.uuid_hidden_until = ready
    cvm.timeline.replace_after(
        since, [CvmPhase(max(since, cvm.created), "creating", creating), CvmPhase(ready, "running", metered=True)]
    )
