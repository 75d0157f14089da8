"""A fleet run from its start to its end, on virtual time: the logs, the canary workspace, the total of failures."""

import json
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.verify import Verdict
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Ending, Exit
from orchestrator.reply import Reply, StatusRead
from orchestrator.runs.status import StopRequest
from tests.engine.fakes import FakeCloud, failed
from tests.runs.fleet.fleets import Fleet, fleet_of
from tests.runs.fleet.test_plan import DeadCloud

pytestmark = pytest.mark.anyio


def refuse(_: CvmRef, _attempt: int) -> Reply[StatusRead]:
    return failed(403, "not allowed")


async def test_all_workspaces_are_stopped_and_the_fleet_log_has_the_hash_of_every_end(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=2)
    result = await fleet.run()
    assert (result.exit_code, result.ending, fleet.stops()) == (Exit.OK, Ending.COMPLETED, {"prod": 3, "test": 2})
    verdict, state = fleet.read()
    assert verdict is Verdict.WHOLE
    assert state.finished is not None
    assert state.finished.counts == {"settled": 5}
    runs = fleet.read_runs()
    assert {run.workspace: run.hash for run in state.finished.runs} == {
        name: run.finished.hash for name, run in runs.items() if run.finished
    }
    assert {(run.started.fleet, run.started.workspace_name) for run in runs.values()} == {
        (state.fleet_id, "prod"),
        (state.fleet_id, "test"),
    }


async def test_the_runs_are_on_record_before_the_first_request(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=1, test=1)
    planned = []
    fleet.clouds["prod"].on_stop = lambda _ref: planned.append(fleet.read()[1].has_plan)
    await fleet.run()
    assert planned == [True]


async def test_a_workspace_without_a_match_has_a_run_without_targets(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=1)
    result = await fleet.run(steps=[{"action": "stop", "select": {"name": "web-2"}}])
    assert result.exit_code is Exit.OK
    assert [run.targets for run in fleet.read()[1].runs] == [1, 0]
    assert fleet.stops() == {"prod": 1, "test": 0}


async def test_the_others_begin_after_the_canary_workspace_has_ended_as_wanted(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=2, test=2)
    assert (await fleet.run(fleet={"first": "test"})).exit_code is Exit.OK
    last = max(at for at, *_ in fleet.clouds["test"].requests)
    first = min(at for at, kind, _ in fleet.clouds["prod"].requests if kind == "stop")
    assert first >= last


async def test_a_failed_canary_workspace_leaves_the_others_unsent(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=2, test=2)
    fleet.clouds["test"].stop_script = refuse
    result = await fleet.run(fleet={"first": "test"})
    assert (result.exit_code, result.has_finished) == (Exit.ENDED_EARLY, True)
    assert fleet.stops() == {"prod": 0, "test": 2}
    codes = {(target.outcome, target.code) for target in fleet.read_runs()["prod"].targets.values()}
    assert codes == {("not_sent", "canary_failed")}


async def test_a_failure_in_one_workspace_does_not_stop_the_others(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=2, test=2)
    fleet.clouds["test"].stop_script = refuse
    result = await fleet.run()
    assert (result.exit_code, fleet.stops()) == (Exit.FAILED, {"prod": 2, "test": 2})


async def test_a_rate_limit_of_one_workspace_slows_no_other_workspace_down(tmp_path: Path) -> None:
    quick, slow = fleet_of(tmp_path / "quick", a=9, b=9, c=9), fleet_of(tmp_path / "slow", a=9, b=9, c=9)

    def limit(_: CvmRef, attempt: int) -> Reply[StatusRead] | None:
        return failed(429, "too many requests", retry_after=40) if attempt == 1 else None

    slow.clouds["b"].stop_script = limit
    assert (await quick.run()).exit_code is Exit.OK
    began = anyio.current_time()
    assert (await slow.run()).exit_code is Exit.OK
    for name in ("a", "c"):
        assert list_times(slow, name, began) == list_times(quick, name, 0.0)
    first, second, *_ = list_times(slow, "b", began)
    assert second - first >= 40
    requests = {run.workspace: slow.read_runs()[run.workspace].requests for run in slow.read()[1].runs}
    assert (requests["a"], requests["c"]) == (9, 9)
    assert 10 <= requests["b"] <= 18
    assert slow.stops() == {"a": 9, "b": requests["b"], "c": 9}


def list_times(fleet: Fleet, name: str, began: float) -> list[float]:
    """List the times of all stop requests in a workspace, from the begin of the fleet run."""
    return [round(at - began, 3) for at, kind, _ in fleet.clouds[name].requests if kind == "stop"]


async def test_too_many_failures_in_all_workspaces_together_end_every_run(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, a=5, b=5, c=5)
    for cloud in fleet.clouds.values():
        cloud.stop_script = refuse
    result = await fleet.run(fleet={"max_failures": "2"}, limits={"max_failures": "50%"})
    assert (result.exit_code, result.ending) == (Exit.ENDED_EARLY, Ending.MAX_FAILURES)
    assert 3 <= sum(fleet.stops().values()) <= 6
    assert all(run.finished for run in fleet.read_runs().values())


async def test_too_many_failures_elsewhere_end_a_run_between_two_waves(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=4, test=4)
    fleet.clouds["test"].latency, fleet.clouds["test"].stop_script = 60, refuse
    steps = [{"action": "stop", "select": {"all": "true"}, "waves": [1, "100%"], "soak": "1h"}]
    began = anyio.current_time()
    result = await fleet.run(steps=steps, fleet={"max_failures": "0"})
    assert result.exit_code is Exit.ENDED_EARLY
    assert fleet.read_runs()["prod"].counts == {"settled": 1, "not_sent": 3}
    assert anyio.current_time() - began < 1800


async def test_an_interruption_ends_every_run_and_leaves_the_fleet_run_resumable(tmp_path: Path) -> None:
    fleet, stop = fleet_of(tmp_path, prod=9, test=9), StopRequest()
    fleet.clouds["prod"].on_stop = lambda ref: stop.request_end(Ending.SIGINT) if ref.name == "web-3" else None
    result = await fleet.run(stop=stop)
    assert (result.exit_code, result.has_finished) == (Exit.SIGINT, False)
    verdict, state = fleet.read()
    assert verdict is Verdict.UNFINISHED
    assert state.interrupted is not None
    assert (state.interrupted.reason, state.interrupted.exit_code) == ("sigint", 130)
    assert all(run.interrupted for run in fleet.read_runs().values())


async def test_a_refused_key_ends_one_run_and_leaves_the_fleet_run_resumable(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=2, test=2)
    fleet.clouds["test"].stop_script = lambda _ref, _attempt: failed(401, "Invalid API key")
    result = await fleet.run()
    assert (result.has_finished, fleet.stops()["prod"]) == (False, 2)
    assert result.exit_code is Exit.ENDED_EARLY
    assert fleet.read_runs()["prod"].finished is not None


async def test_a_left_out_workspace_is_on_record_and_costs_the_exit_code_6(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, {"prod": FakeCloud(2), "eu": DeadCloud(1)})
    result = await fleet.run(skip=["eu"])
    assert result.exit_code is Exit.FAILED
    state = fleet.read()[1]
    assert [each["workspace"] for each in state.started.left_out] == ["eu"]
    assert state.finished is not None
    assert json.loads(json.dumps(state.finished.record))["left_out"] == state.started.left_out


async def test_a_cancellation_records_an_interruption(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    with anyio.move_on_after(4):
        await fleet.run()
    state = fleet.read()[1]
    assert state.interrupted is not None
    assert state.finished is None


async def test_a_bug_in_one_run_does_not_stop_the_others(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=3)

    def crash(_: CvmRef) -> None:
        raise ZeroDivisionError

    fleet.clouds["test"].on_stop = crash
    with pytest.raises(ExceptionGroup, match="bug"):
        await fleet.run()
    assert fleet.stops()["prod"] == 3
    assert fleet.read_runs()["prod"].finished is not None
    assert fleet.read()[1].finished is None
