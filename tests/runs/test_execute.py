"""A run from its open log to its end, its resume, and its abandonment; on virtual time."""

from pathlib import Path

import anyio
import pytest

from orchestrator.audit.claims import FileClaimStore
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.store import FileRunStore
from orchestrator.audit.verify import Verdict, read_log
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.runs.abandon import abandon_run
from orchestrator.runs.claims import claim_again
from orchestrator.runs.execute import carry_out
from orchestrator.runs.resume import reopen_run
from orchestrator.runs.session import RunObserver
from orchestrator.runs.status import StopRequest
from tests.engine.fakes import FakeCloud
from tests.logs import log_path, write_by
from tests.runs.sessions import session_of, write_at_once
from tests.runs.test_start import start

pytestmark = pytest.mark.anyio


class Observed(RunObserver):
    """Collects warnings, and requests the end of the run after the first accepted request."""

    def __init__(self, stop: StopRequest | None = None) -> None:
        self.warnings: list[str] = []
        self._stop = stop

    def on_record(self, record: Record, state: RunState) -> None:
        del state
        if self._stop is not None and record["event"] == "action.accepted":
            self._stop.request_end(Ending.SIGINT)

    def on_warning(self, event: str, /, **facts: object) -> None:
        del facts
        self.warnings.append(event)


async def test_a_run_ends_with_its_log_closed_and_its_claim_released(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    opened = await start(session)
    result = await carry_out(session, opened, StopRequest())
    assert (result.ending, result.exit_code) == (Ending.COMPLETED, Exit.OK)
    assert opened.state.counts == {Outcome.SETTLED: 3}
    assert read_log(log_path(opened.log)).verdict is Verdict.WHOLE
    assert not FileClaimStore(FileRunStore(tmp_path)).is_any_live([opened.log.run_id])


async def test_a_requested_end_sends_nothing_more_and_is_resumable(tmp_path: Path) -> None:
    cloud, stop = FakeCloud(3), StopRequest()
    observed = Observed(stop)
    session = session_of(cloud, tmp_path, observed)
    opened = await start(session)
    result = await carry_out(session, opened, stop)
    assert (result.ending, result.exit_code) == (Ending.SIGINT, Exit.SIGINT)
    assert (sum(cloud.posts.values()), observed.warnings) == (1, ["interrupting"])
    with reopen_run(opened.stored) as reopened:
        write_by(reopened.log, write_at_once)
        applied = reopened.apply_settings(session.settings)
        with claim_again(session.claims, reopened.state, ignore_running=False) as claim:
            plan = await reopened.plan(session, applied, claim)
            assert (len(plan.send), plan.ended, plan.is_doubtful) == (2, 1, False)
            again = await reopened.record_resume(session, plan, claim)
            assert (await carry_out(session, again, StopRequest())).exit_code is Exit.OK
    assert set(cloud.posts.values()) == {1}


async def test_an_end_requested_before_the_start_sends_nothing(tmp_path: Path) -> None:
    cloud, stop = FakeCloud(3), StopRequest()
    session = session_of(cloud, tmp_path)
    opened = await start(session)
    stop.request_end(Ending.SIGTERM)
    assert (await carry_out(session, opened, stop)).exit_code is Exit.SIGTERM
    assert dict(cloud.posts) == {}


async def test_a_cancelled_run_closes_its_log_and_releases_its_claim(tmp_path: Path) -> None:
    session = session_of(FakeCloud(3), tmp_path)
    for seconds in (0, 1.5):
        opened = await start(session)
        with anyio.move_on_after(seconds) as scope:
            await carry_out(session, opened, StopRequest())
        assert scope.cancelled_caught
        assert not FileClaimStore(FileRunStore(tmp_path)).is_any_live([opened.log.run_id])
        with reopen_run(opened.stored) as reopened:
            assert reopened.state.finished is None


async def test_an_abandoned_run_sends_nothing_and_is_finished(tmp_path: Path) -> None:
    cloud, stop = FakeCloud(3), StopRequest()
    session = session_of(cloud, tmp_path, Observed(stop))
    opened = await start(session)
    await carry_out(session, opened, stop)
    with reopen_run(opened.stored) as reopened:
        write_by(reopened.log, write_at_once)
        result = await abandon_run(session, reopened, "wrong teepod")
    assert (result.ending, result.exit_code) == (Ending.ABANDONED, Exit.ENDED_EARLY)
    assert sum(cloud.posts.values()) == 1
    assert read_log(log_path(opened.log)).verdict is Verdict.WHOLE
