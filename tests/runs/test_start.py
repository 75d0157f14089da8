"""The start of a run: refusal, confirmation, claim, and the first records of the log; on virtual time."""

import json
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.errors import ClaimedError, CloudError, GuardError, NotConfirmedError
from orchestrator.playbook.plan import Plan
from orchestrator.reply import Reply
from orchestrator.runs.session import RunObserver, Session
from orchestrator.runs.start import OpenRun, plan_request, start_run
from tests.engine.fakes import FakeCloud
from tests.logs import write_by
from tests.runs.sessions import request_of, session_of, write_at_once

pytestmark = pytest.mark.anyio


async def agree(plan: Plan) -> bool:
    return bool(plan.targets)


async def agree_late(plan: Plan) -> bool:
    await anyio.sleep(301)
    return bool(plan.targets)


async def disagree(plan: Plan) -> bool:
    return not plan.targets


async def start(session: Session, confirm: object = agree, **fields: object) -> OpenRun:
    request = request_of(**fields)
    prepared = await plan_request(session, request)
    opened = await start_run(session, request, prepared, confirm)  # type: ignore[arg-type]
    write_by(opened.log, write_at_once)
    return opened


def logs_in(folder: Path) -> list[Path]:
    return sorted((folder / "runs").glob("*.jsonl"))


async def test_a_start_records_the_plan_and_sends_nothing(tmp_path: Path) -> None:
    events: list[str] = []

    class Recorder(RunObserver):
        def on_record(self, record: Record, state: RunState) -> None:
            assert state.run_id == record["run_id"]
            events.append(record["event"])

    cloud = FakeCloud(3)
    opened = await start(session_of(cloud, tmp_path, Recorder()))
    assert events == ["run.started", "run.planned"]
    assert [job.ref.name for job in opened.jobs] == ["web-0", "web-1", "web-2"]
    assert (opened.workspace_size, opened.fresh, dict(cloud.posts)) == (3, None, {})
    (log,) = logs_in(tmp_path)
    assert json.loads(log.read_text().splitlines()[0])["workspace"] == "ws_1"


async def test_a_late_confirmation_reads_all_statuses_again(tmp_path: Path) -> None:
    opened = await start(session_of(FakeCloud(3), tmp_path), agree_late)
    assert sorted(opened.fresh or {}) == sorted(job.ref.key for job in opened.jobs)


async def test_a_refused_or_unconfirmed_plan_leaves_neither_log_nor_claim(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    with pytest.raises(GuardError, match="max_targets"):
        await start(session, guards={"max_targets": 2})
    with pytest.raises(NotConfirmedError):
        await start(session, disagree)
    assert (logs_in(tmp_path), (tmp_path / "claims").exists()) == ([], False)


async def test_a_second_run_on_the_same_cvms_is_refused_while_the_first_holds_its_claim(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    first = await start(session)
    with pytest.raises(ClaimedError) as refused:
        await start(session)
    assert refused.value.run_ids == (first.log.run_id,)
    assert first.claim is not None
    first.claim.release(has_ended=True)
    assert (await start(session)).log.run_id != first.log.run_id


async def test_a_start_that_fails_after_its_claim_releases_the_claim(tmp_path: Path) -> None:
    cloud = FakeCloud(3)
    session = session_of(cloud, tmp_path)
    cloud.batch = lambda _uuids: Reply(http_status=401, problem="unauthorized")
    with pytest.raises(CloudError):
        await start(session, agree_late)
    assert logs_in(tmp_path) == []
    cloud.batch = lambda _uuids: None
    await start(session)
