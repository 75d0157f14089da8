"""The request to undo a run, from the log of the run to the plan; on virtual time."""

from pathlib import Path

import pytest

from orchestrator.action import Action
from orchestrator.audit.store import StoredRun
from orchestrator.errors import NoMatchError, RunHeldError, SettingsError, UsageError
from orchestrator.runs.execute import carry_out
from orchestrator.runs.restore import read_undo, request_undo
from orchestrator.runs.session import Session
from orchestrator.runs.start import plan_request
from orchestrator.runs.status import StopRequest
from tests.engine.fakes import FakeCloud
from tests.runs.sessions import session_of
from tests.runs.test_start import start

pytestmark = pytest.mark.anyio


async def stopped_run(session: Session) -> StoredRun:
    opened = await start(session)
    await carry_out(session, opened, StopRequest())
    return opened.stored


async def test_an_undo_plans_the_start_of_the_stopped_cvms(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    stored = await stopped_run(session)
    undo, state = read_undo(stored)
    request = request_undo(undo, state, stored, session.settings)
    assert request.origin_fields == {"restores": stored.run_id}
    plan = (await plan_request(session, request)).plan
    assert [(target.action, target.cvm.ref.name) for target in plan.targets] == [
        (Action.START, f"web-{n}") for n in range(3)
    ]


async def test_an_undo_in_another_workspace_is_refused(tmp_path: Path) -> None:
    cloud = FakeCloud(3)
    session = session_of(cloud, tmp_path)
    stored = await stopped_run(session)
    request = request_undo(*read_undo(stored), stored, session.settings)
    with pytest.raises(UsageError, match="belongs to workspace ws_1, the API key to workspace ws_2"):
        await plan_request(session_of(cloud, tmp_path, workspace="ws_2"), request)


def alter(stored: StoredRun) -> None:
    log = Path(stored.location)
    log.write_text(log.read_text().replace("web-1", "web-9"))


async def test_a_live_unfinished_or_altered_run_cannot_be_undone(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    opened = await start(session)
    with pytest.raises(RunHeldError):
        read_undo(opened.stored)
    with opened:
        pass
    with pytest.raises(UsageError, match="not finished"):
        read_undo(opened.stored)
    alter(opened.stored)
    with pytest.raises(SettingsError, match="altered"):
        read_undo(opened.stored)


async def test_a_run_that_stopped_no_running_cvm_cannot_be_undone(tmp_path: Path) -> None:
    cloud = FakeCloud(3)
    session = session_of(cloud, tmp_path)
    opened = await start(session)
    cloud.gone = {ref.name for ref in cloud.refs}
    await carry_out(session, opened, StopRequest())
    with pytest.raises(NoMatchError, match="stopped no running CVM"):
        read_undo(opened.stored)
