"""Abandon an interrupted fleet run, on virtual time."""

from pathlib import Path

import pytest

from orchestrator.audit.verify import Verdict
from orchestrator.errors import CloudError, NotConfirmedError
from orchestrator.outcome import Ending, Exit, Outcome
from tests.runs.fleet.fleets import Fleet, fleet_of
from tests.runs.fleet.test_resume import Unreadable, interrupt

pytestmark = pytest.mark.anyio


async def test_all_unfinished_runs_end_without_a_request(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=30, test=30, small=1)
    await interrupt(fleet, at="web-25")
    sent = fleet.stops()
    result = await fleet.abandon()
    assert (result.exit_code, result.has_finished, fleet.stops()) == (Exit.ENDED_EARLY, True, sent)
    assert [end.ending for end in result.ends] == [Ending.ABANDONED, Ending.ABANDONED, Ending.COMPLETED]
    verdict, state = fleet.read()
    assert verdict is Verdict.WHOLE
    assert state.finished is not None
    assert {run.workspace: run.hash for run in state.finished.runs} == {
        name: run.finished.hash for name, run in fleet.read_runs().items() if run.finished
    }


async def test_an_unreachable_workspace_leaves_the_fleet_run_unfinished(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    alive = fleet.clouds["test"]
    fleet.clouds = {"prod": fleet.clouds["prod"], "test": Unreadable(9)}
    with pytest.raises(CloudError, match="workspace test: "):
        await fleet.abandon()
    assert fleet.read()[1].finished is None
    assert fleet.read_runs()["prod"].finished is not None
    fleet.clouds = {"prod": fleet.clouds["prod"], "test": alive}
    assert (await fleet.abandon()).has_finished


async def crash_before_the_plan(fleet: Fleet) -> None:
    """Begin a fleet run, and cut its log off before `fleet.planned`."""
    (await fleet.start()).__exit__()
    (log,) = fleet.store.folder.glob("*.jsonl")
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])


async def test_a_fleet_run_without_a_plan_is_abandoned_with_the_runs_that_began(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=2)
    await crash_before_the_plan(fleet)
    fleet.clouds = {"prod": Unreadable(3), "test": Unreadable(2)}
    with pytest.raises(NotConfirmedError, match="nothing was sent") as refused:
        await fleet.resume()
    assert "orchestrator abandon fleet-" in (refused.value.hint or "")
    result = await fleet.abandon()
    assert (result.exit_code, result.has_finished) == (Exit.ENDED_EARLY, True)
    assert fleet.stops() == {"prod": 0, "test": 0}
    runs = fleet.read_runs()
    assert {name: run.counts for name, run in runs.items()} == {
        "prod": {Outcome.NOT_SENT: 3},
        "test": {Outcome.NOT_SENT: 2},
    }


async def test_a_fleet_run_without_any_run_is_abandoned(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3)
    await crash_before_the_plan(fleet)
    for log in (tmp_path / "runs").glob("*.jsonl"):
        log.unlink()
    result = await fleet.abandon()
    assert (result.exit_code, result.ending) == (Exit.ENDED_EARLY, Ending.ABANDONED)
    assert fleet.read()[1].finished is not None
