"""The wake of a playbook, from the logs and the operation histories to the plan; on virtual time."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import StoredRun
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError, PlaybookError, SettingsError
from orchestrator.playbook.plan import Plan
from orchestrator.playbook.plan_warning import WarningCode
from orchestrator.reply import OperationRecord, OperationsPage, Reply
from orchestrator.runs.execute import carry_out
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.signed_start import is_exempt
from orchestrator.runs.start import OpenRun, RunRequest, plan_request, start_run
from orchestrator.runs.status import StopRequest
from orchestrator.runs.wake import request_wake
from orchestrator.settings.load import Settings
from orchestrator.settings.model import ApprovalSection
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once

pytestmark = pytest.mark.anyio
TIMES = {"schedule": {"cron": "0 19 * * *", "timezone": "UTC"}, "wake": {"cron": "0 7 * * *", "include_gpus": "true"}}


def office(**fields: Any) -> RunRequest:  # noqa: ANN401 - any key of a playbook
    return request_of(**TIMES, **fields)


async def begin(session: Session, request: RunRequest) -> OpenRun:
    async def agree(_: Plan) -> bool:
        return True

    opened = await start_run(session, request, await plan_request(session, request), agree)
    write_by(opened.log, write_at_once)
    return opened


async def stop(session: Session, request: RunRequest | None = None) -> StoredRun:
    opened = await begin(session, request or office())
    await carry_out(session, opened, StopRequest())
    return opened.stored


async def plan_wake(session: Session) -> Plan:
    request = request_wake(office().loaded, session.settings)
    return (await plan_request(session, replace(request, limits=session.limits))).plan


def names(plan: Plan) -> list[str]:
    return [target.cvm.ref.name for target in plan.targets]


def reasons(plan: Plan) -> dict[str, str]:
    return {each.cvm.ref.name: each.reason for each in plan.skipped if each.selected}


async def test_a_stop_records_its_operations_once_and_the_wake_knows_them(tmp_path: Path) -> None:
    session = session_of(cloud := FakeCloud(3), tmp_path)
    stored = await stop(session)
    lines = [line.decode() for line in stored.read_lines()]
    assert sum('"event":"target.operation"' in line for line in lines) == cloud.count("operations") == 3
    assert '"event":"run.finished"' in lines[-1]
    plan = await plan_wake(session)
    assert names(plan) == ["web-0", "web-1", "web-2"]
    assert [each.code for each in plan.warnings] == []


async def test_a_playbook_without_wake_reads_no_history(tmp_path: Path) -> None:
    session = session_of(cloud := FakeCloud(2), tmp_path)
    await stop(session, request_of())
    assert cloud.count("operations") == 0


async def test_without_any_operation_history_the_statuses_decide_with_a_warning(tmp_path: Path) -> None:
    session = session_of(cloud := FakeCloud(2), tmp_path)
    cloud.history_script = lambda _ref: Reply(http_status=404, problem="Not Found")
    await stop(session)
    plan = await plan_wake(session)
    assert names(plan) == ["web-0", "web-1"]
    assert WarningCode.NO_OPERATION_HISTORY in [each.code for each in plan.warnings]


async def test_a_history_missing_at_the_stop_and_there_at_the_wake_matches_nothing(tmp_path: Path) -> None:
    session = session_of(cloud := FakeCloud(1), tmp_path)
    cloud.history_script = lambda _ref: Reply(http_status=404, problem="Not Found")
    await stop(session)
    cloud.history_script = lambda _ref: None
    plan = await plan_wake(session)
    assert (names(plan), re.sub(r" at .*", "", reasons(plan)["web-0"])) == ([], "changed: stop by me")


async def test_an_unreadable_history_and_a_foreign_operation_count_as_touched(tmp_path: Path) -> None:
    session = session_of(cloud := FakeCloud(3), tmp_path)
    await stop(session)
    update = OperationRecord(correlation_id="x", kind="compose_update", target="stopped", by=None, started_at=None)
    cloud.history_script = lambda ref: {
        "web-0": Reply(http_status=403, problem="HTTP 403: not in workspace"),
        "web-1": Reply(value=OperationsPage((update,)), http_status=200),
    }.get(ref.name)
    plan = await plan_wake(session)
    assert names(plan) == ["web-2"]
    assert reasons(plan) == {
        "web-0": "changed: its operation history can't be read: HTTP 403: not in workspace",
        "web-1": "changed: compose_update since its stop",
    }


def stop_of(ref: CvmRef) -> OperationRecord:
    return OperationRecord(correlation_id=ref.name, kind="stop", target="stopped", by=None, started_at=None)


async def test_an_unfinished_stop_counts_by_its_operations_and_is_named(tmp_path: Path) -> None:
    stopping = StopRequest()

    class Interrupting(RunObserver):
        def on_record(self, record: Record, state: RunState) -> None:
            if record["event"] == "action.accepted" and state.requests > 1:
                stopping.request_end(stopping.ending)

    session = session_of(cloud := FakeCloud(6), tmp_path, Interrupting())
    opened = await begin(session, office())
    await carry_out(session, opened, stopping)
    stopped = sorted(cloud.posts)
    assert 0 < len(stopped) < 6
    cloud.gone = {ref.name for ref in cloud.refs if ref.name not in stopped}
    # The log has the time of this machine, the cloud a virtual time: without a time, the order decides.
    cloud.history_script = lambda ref: Reply(value=OperationsPage((stop_of(ref),)), http_status=200)
    plan = await plan_wake(session)
    assert names(plan) == stopped
    assert any(opened.stored.run_id in each.message for each in plan.warnings)


async def test_a_live_stop_is_waited_for(tmp_path: Path) -> None:
    session = session_of(FakeCloud(1), tmp_path)
    with await begin(session, office()) as opened:
        with pytest.raises(ClaimedError, match="still stops CVMs") as caught:
            await plan_wake(session)
        assert caught.value.run_ids == (opened.stored.run_id,)


def alter(stored: StoredRun) -> None:
    log = Path(stored.location)
    log.write_text(log.read_text().replace("web-0", "web-9"))


async def test_an_altered_log_proves_nothing(tmp_path: Path) -> None:
    session = session_of(FakeCloud(1), tmp_path)
    alter(await stop(session))
    with pytest.raises(SettingsError, match="altered"):
        await plan_wake(session)


async def test_runs_of_another_workspace_do_not_count(tmp_path: Path) -> None:
    cloud = FakeCloud(2)
    await stop(session_of(cloud, tmp_path, workspace="ws_2"))
    plan = await plan_wake(session_of(cloud, tmp_path))
    assert (names(plan), reasons(plan)) == ([], {})


async def test_a_playbook_without_wake_has_no_wake(tmp_path: Path) -> None:
    with pytest.raises(PlaybookError, match="has no `wake`"):
        request_wake(request_of().loaded, session_of(FakeCloud(1), tmp_path).settings)


def test_a_wake_needs_an_approved_plan_unless_its_playbook_is_exempt() -> None:
    request = request_wake(office().loaded, Settings())
    assert is_exempt(Settings(approval=ApprovalSection(exempt=["all-down"])), request)
    assert not is_exempt(Settings(approval=ApprovalSection(exempt=["all-down (wake)"])), request)
