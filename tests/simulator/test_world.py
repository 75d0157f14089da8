"""The fleet, and the search for CVMs."""

from collections import Counter

import pytest

from orchestrator.simulator.refusals import Refusal
from orchestrator.simulator.settings import parse_settings
from orchestrator.simulator.world import World


def _describe_world(world: World) -> list[tuple[str | None, ...]]:
    return [(cvm.hashid, cvm.uuid, cvm.name, cvm.teepod.name, cvm.phase_at(0).status) for cvm in world.cvms]


def test_the_same_seed_makes_the_same_fleet() -> None:
    assert _describe_world(World.generate(cvms=50, seed=4)) == _describe_world(World.generate(cvms=50, seed=4))
    assert _describe_world(World.generate(cvms=50, seed=4)) != _describe_world(World.generate(cvms=50, seed=5))
    assert World.generate(seed=4).api_key.startswith("phak_")


def test_teepods_get_about_forty_cvms_each() -> None:
    spread = Counter(cvm.teepod.name for cvm in World.generate(cvms=400, seed=1).cvms)
    assert set(spread) == {f"prod-{index}" for index in range(1, 11)}
    assert set(spread.values()) == {40}


@pytest.mark.parametrize(("cvms", "teepods"), [(0, 1), (1, 1), (2, 2), (3, 3), (100, 3)])
def test_a_small_fleet_has_three_teepods_if_it_has_three_cvms(cvms: int, teepods: int) -> None:
    assert len(World.generate(cvms=cvms, seed=1).teepods) == teepods


def test_every_fleet_has_a_few_running_kms_and_gateway_cvms() -> None:
    for seed in range(20):
        world = World.generate(cvms=30, seed=seed)
        essential = [cvm for cvm in world.cvms if cvm.name.startswith(("kms-", "gateway-"))]
        assert 2 <= len(essential) <= 6
        assert all(cvm.phase_at(0).status == "running" for cvm in essential)


def test_about_eight_percent_are_stopped_and_one_percent_have_gpus() -> None:
    cvms = World.generate(cvms=5000, seed=2).cvms
    assert 0.06 < sum(cvm.phase_at(0).status == "stopped" for cvm in cvms) / 5000 < 0.10
    assert 0.005 < sum(cvm.instance_type.gpus > 0 for cvm in cvms) / 5000 < 0.015
    assert not any(cvm.gpu_rental for cvm in cvms)


def test_names_and_ids_are_unique_unless_the_settings_repeat_a_name() -> None:
    cvms = World.generate(cvms=2000, seed=9).cvms
    for attribute in ("hashid", "uuid", "instance_id", "name", "number"):
        assert len({getattr(cvm, attribute) for cvm in cvms}) == 2000
    world = World.generate(settings=parse_settings({"fleet": {"cvms": 5, "names": ["twin-1", "twin-1"]}}))
    assert [cvm.name for cvm in world.cvms][:2] == ["twin-1", "twin-1"]


def test_every_form_of_an_identifier_finds_the_same_cvm() -> None:
    world = World.generate(cvms=30, seed=1)
    cvm = world.add_cvm("lonely-1")
    app_id = cvm.app.app_id
    forms = [cvm.hashid, cvm.uuid, cvm.uuid.replace("-", ""), cvm.uuid.upper(), cvm.instance_id]
    forms += [app_id, f"app_{app_id}", f"0x{app_id}", f"0x{app_id.upper()}", f"app_{cvm.instance_id}", "lonely-1"]
    assert [world.find_cvm(form, 0) for form in forms] == [cvm] * len(forms)


def test_a_shared_name_and_an_app_with_replicas_are_refused() -> None:
    world = World.generate(cvms=0)
    first = world.add_cvm("twin-1")
    world.add_cvm("twin-1", app_id=first.app.app_id)
    with pytest.raises(Refusal) as shared:
        world.find_cvm("twin-1", 0)
    assert (shared.value.status, shared.value.body["error_code"]) == (409, "ERR-03-002")
    with pytest.raises(Refusal) as ambiguous:
        world.find_cvm(f"app_{first.app.app_id}", 0)
    assert (ambiguous.value.status, ambiguous.value.body["error_code"]) == (400, "ERR-03-010")


def test_a_deleted_cvm_is_not_found() -> None:
    world = World.generate(cvms=5, seed=1)
    cvm = world.cvms[0]
    world.delete_cvm(cvm, 10)
    assert world.find_cvm(cvm.hashid, 9) is cvm
    for identifier in (cvm.hashid, cvm.uuid, cvm.instance_id, cvm.name):
        with pytest.raises(Refusal, match="404"):
            world.find_cvm(identifier, 10)
    assert len(world.visible_cvms(9)) == 5
    assert len(world.visible_cvms(10)) == 4
