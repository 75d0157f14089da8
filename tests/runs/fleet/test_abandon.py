"""Abandon an interrupted fleet run, on virtual time."""

from pathlib import Path

import pytest

from orchestrator.audit.verify import Verdict
from orchestrator.errors import CloudError
from orchestrator.outcome import Ending, Exit
from tests.runs.fleet.fleets import fleet_of
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
