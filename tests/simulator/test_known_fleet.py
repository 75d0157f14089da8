"""Loading a known fleet: the API shows the given facts, and an operation in progress ends."""

from decimal import Decimal

from orchestrator.simulator.known_fleet import KnownCvm, load_world
from orchestrator.simulator.settings import SimulatorSettings, TimingSettings
from orchestrator.simulator.wire.current import cvm_info
from orchestrator.simulator.wire.shared import cvm_status
from orchestrator.simulator.wire.view import WorldView
from orchestrator.simulator.world import World

SETTINGS = SimulatorSettings(timing=TimingSettings(stop_seconds=(5, 5), start_seconds=(9, 9)))
NEWEST = "2026-06-23"


def _load(*known: KnownCvm) -> World:
    return load_world(known, settings=SETTINGS)


def test_the_list_shows_every_given_fact() -> None:
    given = KnownCvm(
        hashid="cvm_abc",
        uuid="2F1B3C4D-0000-4000-8000-000000000001",
        name="api-1",
        app_id="a" * 40,
        teepod_id=7,
        teepod="prod-7",
        region="eu",
        instance_type="tdx.odd",
        gpus=2,
        usd_per_hour=Decimal("1.25"),
        disk_gb=33,
        gpu_rental=True,
        age=7200,
        uptime=60,
    )
    world = _load(given, KnownCvm(name="made-up"))
    info = cvm_info(WorldView(world, 0.0, NEWEST), world.find_cvm("cvm_abc", 0.0))
    assert (info["name"], info["app_id"], info["vm_uuid"]) == ("api-1", "a" * 40, given.uuid)
    assert (info["node_info"]["id"], info["node_info"]["name"], info["node_info"]["region"]) == (7, "prod-7", "eu")
    assert (info["resource"]["instance_type"], info["resource"]["gpus"], info["resource"]["disk_in_gb"]) == (
        *("tdx.odd", 2, 33),
    )
    assert info["hourly_rate"]["compute"] == "1.25"
    assert info["gpu_rental_order"] is not None
    assert cvm_status(WorldView(world, 5.0, NEWEST), world.find_cvm("cvm_abc", 0.0))["uptime"] == "1m 5s"
    assert [cvm.name for cvm in world.visible_cvms(0.0)] == ["api-1", "made-up"]
    assert world.find_by_uuid(given.uuid or "", 0.0) is world.find_cvm("cvm_abc", 0.0)
    assert "tdx.odd" in {kind.id for kind in world.instance_types}


def test_an_operation_in_progress_ends_after_the_settle_time() -> None:
    world = _load(
        KnownCvm(name="down", status="stopping", in_progress=True),
        KnownCvm(name="up", status="starting", in_progress=True),
        KnownCvm(name="odd", status="migrating", in_progress=True),
    )
    statuses = {cvm.name: [cvm.phase_at(at).status for at in (0.0, 4.9, 5.0, 9.0)] for cvm in world.cvms}
    assert statuses["down"] == ["stopping", "stopping", "stopped", "stopped"]
    assert statuses["up"] == ["starting", "starting", "starting", "running"]
    assert statuses["odd"] == ["migrating"] * 4


def test_a_generated_fleet_has_its_settle_times_again() -> None:
    world = World.generate(cvms=50, seed=7)
    known = [
        KnownCvm(hashid=cvm.hashid, uuid=cvm.uuid, name=cvm.name, app_id=cvm.app.app_id) for cvm in reversed(world.cvms)
    ]
    again = load_world(known, settings=SimulatorSettings().with_fleet(seed=7))
    assert [(cvm.hashid, cvm.delays) for cvm in again.cvms] == [(cvm.hashid, cvm.delays) for cvm in world.cvms]


def test_a_cvm_without_a_uuid_stays_without() -> None:
    world = _load(KnownCvm(hashid="cvm_new", name="new", status="creating", in_progress=True))
    assert world.find_cvm("cvm_new", 0.0).vm_uuid(1e9) is None
    assert not world.find_cvm("cvm_new", 0.0).phase_at(0.0).metered
