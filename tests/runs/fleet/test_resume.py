"""The resume of a fleet run on virtual time: finished runs stay, unfinished runs continue, nothing is sent twice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.fleet_log import FleetEvent
from orchestrator.audit.fleet_store import new_fleet_id
from orchestrator.audit.log import AuditLog
from orchestrator.audit.store import FileRunStore
from orchestrator.audit.verify import Verdict
from orchestrator.errors import CloudError, NotConfirmedError, RunHeldError, SettingsError, UsageError
from orchestrator.outcome import Ending, Exit
from orchestrator.reply import Page, Reply, StatusRead
from orchestrator.runs.fleet.execute import carry_out_fleet
from orchestrator.runs.fleet.members import read_members
from orchestrator.runs.resume import reopen_run
from orchestrator.runs.status import StopRequest
from orchestrator.times import utc_now
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.fleet.fleets import Fleet, fleet_of
from tests.runs.fleet.test_execute import refuse

pytestmark = pytest.mark.anyio


async def interrupt(fleet: Fleet, /, at: str = "web-3", **fields: Any) -> None:  # noqa: ANN401 - any key of a playbook
    """Interrupt a fleet run at the request to a CVM of `prod`."""
    stop = StopRequest()
    fleet.clouds["prod"].on_stop = lambda ref: stop.request_end(Ending.SIGINT) if ref.name == at else None
    await fleet.run(stop=stop, **fields)
    fleet.clouds["prod"].on_stop = lambda _: None


async def test_an_interrupted_fleet_run_continues_and_sends_nothing_twice(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    assert sum(fleet.stops().values()) < 18
    result = await fleet.resume()
    assert (result.exit_code, result.has_finished, fleet.stops()) == (Exit.OK, True, {"prod": 9, "test": 9})
    verdict, state = fleet.read()
    assert (verdict, state.interrupted) == (Verdict.WHOLE, None)
    assert state.finished is not None
    assert {run.workspace: run.hash for run in state.finished.runs} == {
        name: run.finished.hash for name, run in fleet.read_runs().items() if run.finished
    }


async def test_finished_runs_stay_as_they_are(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=30, test=1)
    await interrupt(fleet, at="web-25")
    before = fleet.read_runs()["test"].finished
    assert before is not None
    await fleet.resume()
    after = fleet.read_runs()["test"].finished
    assert after is not None
    assert after.hash == before.hash


async def test_a_crash_before_the_last_record_needs_the_last_record_alone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=2, test=1)
    await fleet.run()
    log = next(fleet.store.list_fleets()).path
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    result = await fleet.resume()
    assert (result.exit_code, fleet.stops()) == (Exit.OK, {"prod": 2, "test": 1})
    assert fleet.read()[0] is Verdict.WHOLE


async def test_a_torn_line_of_the_fleet_log_is_named(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=2)
    await interrupt(fleet)
    with next(fleet.store.list_fleets()).path.open("ab") as log:
        log.write(b'{"event":"fleet.fin')
    assert (await fleet.resume()).exit_code is Exit.OK
    assert fleet.read()[0] is Verdict.WHOLE


async def test_the_canary_workspace_continues_first(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=2)
    await interrupt(fleet, fleet={"first": "prod"})
    assert fleet.stops()["test"] == 0
    assert (await fleet.resume()).exit_code is Exit.OK
    first = min(at for at, kind, _ in fleet.clouds["test"].requests if kind == "stop")
    assert first >= max(at for at, kind, _ in fleet.clouds["prod"].requests if kind == "stop")


async def test_a_canary_workspace_that_fails_after_the_resume_leaves_the_others_unsent(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=2)
    await interrupt(fleet, fleet={"first": "prod"})
    fleet.clouds["prod"].stop_script = refuse
    result = await fleet.resume()
    assert (result.exit_code, result.has_finished, fleet.stops()["test"]) == (Exit.ENDED_EARLY, True, 0)


async def test_failures_before_the_crash_count_after_the_resume(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    fleet.clouds["test"].stop_script = refuse
    await interrupt(fleet, fleet={"max_failures": "3"}, limits={"max_failures": "90%"})
    result = await fleet.resume()
    assert (result.exit_code, result.ending) == (Exit.ENDED_EARLY, Ending.MAX_FAILURES)
    assert sum(fleet.stops().values()) < 18


async def test_an_unreachable_workspace_refuses_the_resume_unless_left_out(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    sent, alive = fleet.stops(), fleet.clouds["test"]
    fleet.clouds = {"prod": fleet.clouds["prod"], "test": Unreadable(9)}
    with pytest.raises(CloudError, match=r"1 of 2 workspaces can't be read.*test: "):
        await fleet.resume()
    assert fleet.stops()["prod"] == sent["prod"]
    result = await fleet.resume(skip=["test"])
    assert (result.exit_code, result.has_finished, fleet.stops()["prod"]) == (Exit.FAILED, False, 9)
    assert [each["workspace"] for each in fleet.read()[1].left_out] == ["test"]
    fleet.clouds = {"prod": fleet.clouds["prod"], "test": alive}
    result = await fleet.resume()
    assert (result.exit_code, result.has_finished, fleet.stops()) == (Exit.OK, True, {"prod": 9, "test": 9})
    assert fleet.read()[1].left_out == []


async def test_skip_unreachable_knows_the_unfinished_runs_alone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=30, test=1)
    await interrupt(fleet, at="web-25")
    with pytest.raises(UsageError, match="names 'test', but no unfinished run"):
        await fleet.resume(skip=["test"])


async def test_a_fleet_log_without_a_plan_proves_that_nothing_was_sent(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=1)
    fleet.store.create_log(new_fleet_id(utc_now()), [(FleetEvent.FLEET_STARTED, {"workspaces": ["prod"]})]).close()
    with pytest.raises(NotConfirmedError, match="nothing was sent"), fleet.reopen():
        pass


async def test_one_run_of_a_fleet_run_is_not_resumed_alone(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    state = fleet.read()[1]
    with pytest.raises(UsageError, match="part of fleet run") as caught:
        reopen_run(FileRunStore(tmp_path).get_run(state.runs[0].run_id)).__enter__()
    assert f"orchestrator resume {state.fleet_id}" in (caught.value.hint or "")


async def test_a_fleet_run_is_held_while_it_runs(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=1, test=1)
    opened = await fleet.start()
    with pytest.raises(RunHeldError), fleet.reopen():
        pass
    await carry_out_fleet(opened, StopRequest())
    with fleet.reopen() as reopened:
        assert (reopened.state.finished is not None, reopened.runs) == (True, {})


async def test_a_missing_or_altered_log_of_one_run_is_named(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    log = FileRunStore(tmp_path).path_of(fleet.read()[1].runs[1].run_id)
    data = log.read_bytes()
    log.write_bytes(data.replace(b'"seq":2', b'"seq":3'))
    with pytest.raises(SettingsError, match="workspace test: the audit log was altered"), fleet.reopen():
        pass
    log.unlink()
    with pytest.raises(SettingsError, match="workspace test: the audit log can't be continued"), fleet.reopen():
        pass


async def test_the_log_of_another_run_in_its_place_is_refused(tmp_path: Path) -> None:
    fleet, other = fleet_of(tmp_path / "a", prod=9, test=9), fleet_of(tmp_path / "b", prod=9, test=9)
    logs = []
    for each in (fleet, other):
        await interrupt(each)
        logs.append(FileRunStore(each.folder).path_of(each.read()[1].runs[0].run_id))
    logs[0].write_bytes(logs[1].read_bytes())
    with pytest.raises(SettingsError, match="workspace prod: the log does not belong"), fleet.reopen():
        pass


async def test_the_swapped_logs_of_two_runs_are_refused(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=9, test=9)
    await interrupt(fleet)
    one, two = (FileRunStore(fleet.folder).path_of(run.run_id) for run in fleet.read()[1].runs)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(SettingsError, match="workspace prod: the log is the log of another run"), fleet.reopen():
        pass


async def test_a_broken_log_of_one_run_does_not_stop_the_others(tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, prod=3, test=3)
    opened = await fleet.start()

    async def fail(_: object) -> None:
        raise OSError(28, "No space left on device")

    member = opened.members[1].opened
    assert member is not None
    assert isinstance(member.log, AuditLog)
    write_by(member.log, fail)
    result = await carry_out_fleet(opened, StopRequest())
    assert (result.exit_code, result.has_finished, fleet.stops()) == (Exit.ENDED_EARLY, False, {"prod": 3, "test": 0})
    assert (await fleet.resume()).exit_code is Exit.OK
    assert fleet.stops() == {"prod": 3, "test": 3}


def test_two_names_for_one_key_and_a_missing_key_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = fleet_of(tmp_path, prod=1, test=1).settings("prod")
    monkeypatch.setenv("KEY_prod", "k" * 20)
    with pytest.raises(SettingsError, match="workspace test"):
        read_members(settings, ["prod", "test"])
    monkeypatch.setenv("KEY_test", "k" * 20)
    with pytest.raises(UsageError, match="prod and test have the same API key"):
        read_members(settings, ["prod", "test"])
    monkeypatch.setenv("KEY_test", "t" * 20)
    assert [member.name for member in read_members(settings, ["prod", "test"])] == ["prod", "test"]


class Unreadable(FakeCloud):
    """A cloud that can't be read."""

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        del page, page_size
        return Reply(http_status=401, problem="Invalid API key")

    async def read_statuses(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        del uuids
        return Reply(http_status=401, problem="Invalid API key")
