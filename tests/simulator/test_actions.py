"""Actions: stops of obeying and misbehaving CVMs, shutdowns, starts and restarts."""

from typing import Any

import pytest

from orchestrator.simulator import actions
from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.refusals import Refusal
from orchestrator.simulator.settings import Behaviour, parse_settings
from orchestrator.simulator.world import World

TIMING = {"stop_seconds": [4, 4], "shutdown_seconds": [10, 10], "start_seconds": [6, 6]}


def _world(**sections: object) -> tuple[World, SimulatedCvm]:
    world = World.generate(settings=parse_settings({"fleet": {"cvms": 0}, "timing": TIMING, **sections}))
    return world, world.add_cvm("api-1")


def _statuses(cvm: SimulatedCvm, *moments: float) -> list[str]:
    return [cvm.phase_at(moment).status + ("…" if cvm.phase_at(moment).in_progress else "") for moment in moments]


def test_a_stop_takes_the_cvm_down_after_its_own_delay() -> None:
    world, cvm = _world()
    assert actions.begin_stop(world, cvm, 1)
    assert _statuses(cvm, 0, 1, 4.9, 5) == ["running", "stopping…", "stopping…", "stopped"]


def test_a_shutdown_is_slower_and_refused_during_an_operation() -> None:
    world, cvm = _world()
    actions.begin_shutdown(world, cvm, 0)
    assert _statuses(cvm, 0, 9.9, 10) == ["shutting_down…", "shutting_down…", "stopped"]
    with pytest.raises(Refusal, match="409"):
        actions.begin_shutdown(world, cvm, 5)


def test_a_force_stop_cancels_an_operation_in_progress() -> None:
    world, cvm = _world()
    actions.begin_restart(world, cvm, 0, force=False)
    actions.begin_stop(world, cvm, 2)
    assert _statuses(cvm, 1, 2, 6, 100) == ["restarting…", "stopping…", "stopped", "stopped"]


def test_only_a_stop_of_a_cvm_that_is_up_counts_as_effective() -> None:
    world, cvm = _world()
    assert [actions.begin_stop(world, cvm, moment) for moment in (0, 1, 50)] == [True, False, False]
    assert cvm.effective_stops == 1
    actions.begin_start(world, cvm, 60)
    assert actions.begin_stop(world, cvm, 61)
    assert cvm.effective_stops == 2


def test_a_start_brings_a_stopped_cvm_up_and_is_refused_while_busy() -> None:
    world, cvm = _world()
    actions.begin_stop(world, cvm, 0)
    with pytest.raises(Refusal, match="409"):
        actions.begin_start(world, cvm, 1)
    actions.begin_start(world, cvm, 10)
    assert _statuses(cvm, 10, 15.9, 16) == ["starting…", "starting…", "running"]


def test_a_forced_restart_is_shorter_than_a_graceful_one() -> None:
    world, cvm = _world()
    actions.begin_restart(world, cvm, 0, force=True)
    actions.begin_restart(world, cvm, 20, force=False)
    assert _statuses(cvm, 9.9, 10, 35.9, 36) == ["restarting…", "running", "restarting…", "running"]


@pytest.mark.parametrize(
    ("workspace", "status"),
    [({"balance": "0.10"}, 400), ({"suspended": True}, 403), ({"gpus_available": False}, 500)],
)
def test_a_start_is_refused_without_balance_or_without_a_gpu(workspace: dict[str, Any], status: int) -> None:
    world, _ = _world(workspace=workspace)
    cvm = world.add_cvm("train-1", instance_type="h200.small", status="stopped")
    with pytest.raises(Refusal, match=str(status)):
        actions.begin_start(world, cvm, 0)


@pytest.mark.parametrize(
    ("behaviour", "story"),
    [
        ({"kind": "stuck"}, ["stopping…", "stopping…", "stopping…", "stopping…"]),
        ({"kind": "returns"}, ["stopping…", "running", "running", "running"]),
        ({"kind": "resurrects", "seconds": 10}, ["stopping…", "stopped", "starting…", "running"]),
        ({"kind": "errors"}, ["stopping…", "error", "error", "error"]),
        ({"kind": "vanishes"}, ["stopping…", "(gone)", "(gone)", "(gone)"]),
        ({"kind": "weird_status"}, ["stopping…", "hibernating", "hibernating", "hibernating"]),
        ({"kind": "weird_status", "seconds": 10}, ["stopping…", "hibernating", "stopped", "stopped"]),
    ],
)
def test_a_misbehaving_cvm_misbehaves_after_its_stop(behaviour: dict[str, Any], story: list[str]) -> None:
    world, cvm = _world()
    world.set_behaviour(cvm, Behaviour(**behaviour, names=("api-1",)))
    actions.begin_stop(world, cvm, 0)
    assert _statuses(cvm, 0, 4, 14, 20) == story


def _refusal(world: World, cvm: SimulatedCvm, now: float) -> tuple[int, str | None] | None:
    try:
        actions.begin_stop(world, cvm, now)
    except Refusal as refusal:
        return refusal.status, refusal.body.get("error_code")
    return None


def test_a_busy_cvm_refuses_the_first_attempts_without_a_code() -> None:
    world, cvm = _world()
    world.set_behaviour(cvm, Behaviour(kind="busy", attempts=2))
    assert [_refusal(world, cvm, 0) for _ in range(3)] == [(409, None), (409, None), None]


def test_a_cvm_can_be_busy_for_a_time_instead() -> None:
    world, cvm = _world()
    world.set_behaviour(cvm, Behaviour(kind="busy", seconds=5))
    assert [_refusal(world, cvm, moment) for moment in (0, 4.9, 5)] == [(409, None), (409, None), None]


def test_conflicts_and_gpu_rentals_always_refuse() -> None:
    world, cvm = _world()
    world.set_behaviour(cvm, "conflict")
    assert _refusal(world, cvm, 0) == (409, "ERR-03-007")
    world.set_behaviour(cvm, "refuses")
    assert _refusal(world, cvm, 0) == (403, None)
    assert cvm.effective_stops == 0


def test_a_cvm_being_created_has_no_uuid_until_running() -> None:
    world, cvm = _world()
    world.set_behaviour(cvm, Behaviour(kind="null_uuid", seconds=30))
    assert (cvm.vm_uuid(0), cvm.vm_uuid(30)) == (None, cvm.uuid)
    assert _statuses(cvm, 0, 30) == ["creating…", "running"]
    assert world.find_by_uuid(cvm.uuid, 0) is None


def test_behaviours_are_assigned_by_count_and_by_name() -> None:
    document = {
        "fleet": {"cvms": 60, "seed": 8},
        "behaviour": [{"kind": "refuses", "names": ["kms-*"]}, {"kind": "stuck", "count": 4}],
    }
    dealt = [cvm for cvm in World.generate(settings=parse_settings(document)).cvms if cvm.behaviour]
    assert all(cvm.name.startswith("kms-") == (cvm.behaviour.kind == "refuses") for cvm in dealt if cvm.behaviour)
    assert sum(cvm.behaviour is not None and cvm.behaviour.kind == "stuck" for cvm in dealt) == 4
