"""The claim of a run: the CVMs of a resumed run, status reads after other runs, the wait for live runs."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.claims import Claim
from orchestrator.cvm import CvmRef
from orchestrator.errors import ClaimedError
from orchestrator.runs.claims import RunClaim, claim_again, read_what_others_changed
from orchestrator.runs.session import RunObserver, Session
from tests.engine.fakes import FakeCloud, work_of
from tests.logs import RUN_ID, build_records, replay
from tests.runs.sessions import session_of

pytestmark = pytest.mark.anyio
OTHER = "20261123T080000Z-0002"


class Observed(RunObserver):
    """Collects warnings, and calls a function at every warning."""

    def __init__(self, at_warning: Callable[[], None] = lambda: None) -> None:
        self.warnings: list[tuple[str, object]] = []
        self._at_warning = at_warning

    def on_warning(self, event: str, /, **facts: object) -> None:
        self.warnings.append((event, facts["run_id"]))
        self._at_warning()


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud(2)


@pytest.fixture
def session(cloud: FakeCloud, tmp_path: Path) -> Session:
    return session_of(cloud, tmp_path)


def claim(session: Session, run_id: str, refs: Sequence[CvmRef]) -> Claim:
    """Claim CVMs for a run."""
    return session.claims.create_claim(run_id, session.endpoint.base_url, refs)


async def test_a_resumed_run_claims_every_target_of_its_log(session: Session) -> None:
    state = replay(build_records())
    with claim_again(session.claims, state, ignore_running=False) as held:
        assert held.run_id == RUN_ID
        for target in state.targets.values():
            with pytest.raises(ClaimedError):
                session.claims.create_claim(OTHER, state.started.cloud_url, [target.ref])


async def test_statuses_are_read_again_only_after_another_run_on_the_same_cvms(
    session: Session, cloud: FakeCloud
) -> None:
    async def count_reads() -> int | None:
        planned_at = datetime.now(UTC) - timedelta(seconds=1)
        with claim(session, RUN_ID, cloud.refs) as held:
            found = await read_what_others_changed(session, held, [work_of(ref) for ref in cloud.refs], 2, planned_at)
        return None if found is None else len(found)

    assert await count_reads() is None
    claim(session, OTHER, cloud.refs[:1]).release(has_ended=True)
    assert await count_reads() == 2


async def test_statuses_can_show_the_last_request_of_a_dead_run_when_read(session: Session, cloud: FakeCloud) -> None:
    claim(session, OTHER, cloud.refs).release(has_ended=False)
    began = anyio.current_time()
    with claim(session, RUN_ID, cloud.refs) as held:
        await read_what_others_changed(session, held, [work_of(cloud.refs[0])], 2, datetime.now(UTC))
    recheck_after = session.settings.settle.recheck_after
    assert recheck_after - 1 < anyio.current_time() - began


async def test_a_run_widens_its_claim_after_the_end_of_the_run_in_between(session: Session, cloud: FakeCloud) -> None:
    with claim(session, RUN_ID, cloud.refs) as held:
        widened = RunClaim(held, 2.0, observed := Observed(lambda: other.release(has_ended=True)))
        widened.keep_only(cloud.refs[:1])
        other = claim(session, OTHER, cloud.refs[1:])
        assert await widened.claim_again()
        assert observed.warnings == [("waiting_for_run", RUN_ID)]


async def test_a_claim_widens_at_once_without_other_runs(session: Session, cloud: FakeCloud) -> None:
    with claim(session, RUN_ID, cloud.refs) as held:
        widened = RunClaim(held, 2.0, observed := Observed())
        widened.keep_only([])
        assert not await widened.claim_again()
        assert observed.warnings == []
