"""The undo of a fleet run, on virtual time."""

from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.errors import NoMatchError, UsageError
from orchestrator.outcome import Exit
from tests.runs.fleet.fleets import fleet_of
from tests.runs.fleet.test_resume import interrupt

pytestmark = pytest.mark.anyio


async def test_an_undo_is_a_fleet_run_that_starts_what_was_stopped(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=2, other=1)
    await fleet.run(steps=[{"action": "stop", "select": {"name": "web-1"}}])
    undone, runs = fleet.read()[1].fleet_id, fleet.read_runs()
    for cloud in fleet.clouds.values():
        cloud.was_down = True
        cloud.did.clear()
        cloud.effects.clear()
    result = await fleet.restore()
    assert result.exit_code is Exit.OK
    state = fleet.read()[1]
    assert (state.started.restores, [run.workspace for run in state.runs]) == (undone, ["prod", "test"])
    started = {name: {each: did for each, did in cloud.did.items() if did} for name, cloud in fleet.clouds.items()}
    assert started == {
        "prod": {"web-1": [Action.START]},
        "test": {"web-1": [Action.START]},
        "other": {},
    }
    for name, run in fleet.read_runs().items():
        assert run.started.restores == runs[name].run_id


async def test_an_unfinished_fleet_run_is_not_undone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=2)
    await interrupt(fleet)
    with pytest.raises(UsageError, match="not finished") as caught:
        await fleet.restore()
    assert f"orchestrator resume {fleet.read()[1].fleet_id}" in (caught.value.hint or "")


async def test_a_fleet_run_that_stopped_nothing_has_no_undo(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=1)
    await fleet.run(steps=[{"action": "start", "select": {"all": "true"}}])
    with pytest.raises(NoMatchError, match="stopped no running CVM"):
        await fleet.restore()
