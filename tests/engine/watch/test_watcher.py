"""A deadline that passes while no status could be read is not an answer: the status is read first."""

from collections.abc import Mapping, Sequence

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef, normal_uuid
from orchestrator.engine.job import RequestPhase
from orchestrator.outcome import Exit
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio

ANSWERS: dict[str, Reply[Mapping[str, StatusRead]]] = {
    "an error": Reply(http_status=500, problem="no"),
    "a reset": Reply(problem="reset"),
    "left out": Reply(value={}, http_status=200),
}


def read_error(cloud: FakeCloud, answer: str, begin: float, end: float) -> None:
    """Give this answer to every status batch from one moment to another, and an error to every other read."""
    state, list_page = cloud.read_state, cloud.list_page

    def fails() -> bool:
        return begin <= anyio.current_time() < end

    async def failing_state(ref: CvmRef) -> Reply[StatusRead]:
        return failed(400) if fails() else await state(ref)

    async def failing_page(page: int, page_size: int) -> Reply[Page]:
        return Reply(http_status=400, problem="no") if fails() else await list_page(page, page_size)

    cloud.read_state, cloud.list_page = failing_state, failing_page  # type: ignore[method-assign]
    cloud.batch = lambda _uuids: ANSWERS[answer] if fails() else None


def fleet_of(cloud: FakeCloud, action: Action, seconds: float, *, escalates: bool = False) -> Fleet:
    fleet = Fleet(cloud, action=action)
    cloud.was_down = action is Action.START
    timeout, after = (600.0, seconds) if escalates else (seconds, None)
    fleet.steps = [PlannedStep("stop", action, timeout, escalate_after=after)]
    return fleet


@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_cvm_that_is_down_is_force_stopped_because_a_read_failed(answer: str) -> None:
    cloud = FakeCloud(5, seconds=3)
    read_error(cloud, answer, 2.5, 6.5)
    fleet = fleet_of(cloud, Action.SHUTDOWN, 6, escalates=True)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 5})
    assert (cloud.count("stop"), cloud.count("stops")) == (0, 0)
    assert not fleet.trail.of("action.escalated")


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_no_cvm_that_is_where_it_is_to_be_is_unsettled_because_a_read_failed(action: Action, answer: str) -> None:
    cloud = FakeCloud(5, seconds=3)
    read_error(cloud, answer, 2.5, 6.5)
    fleet = fleet_of(cloud, action, 6)
    if action is Action.RESTART:  # seen on its way by the answer to the request alone
        cloud.status_script = lambda _ref, since: (
            None if since is None or since >= 3 else StatusRead("restarting", True)
        )
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 5})


async def test_a_cvm_that_is_up_at_the_first_read_after_its_deadline_is_force_stopped() -> None:
    cloud = FakeCloud(1)
    cloud.seconds = lambda _ref: 0 if Action.STOP in cloud.did["web-0"] else 1000
    read_error(cloud, "an error", 2.5, 20)
    fleet = fleet_of(cloud, Action.SHUTDOWN, 6, escalates=True)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 1})
    (stopped_at,) = (at for at, kind, _ in cloud.requests if kind == "stop")
    assert 20 <= stopped_at < 23


@pytest.mark.parametrize("escalates", [True, False])
async def test_a_status_that_stays_unreadable_is_told_as_such_in_bounded_time(escalates: bool) -> None:
    cloud = FakeCloud(3, seconds=3)
    read_error(cloud, "left out", 0, 1000)
    fleet = fleet_of(cloud, Action.SHUTDOWN, 6, escalates=escalates)
    fleet.run.reader.workspace_size = 0
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.UNSETTLED, {"unsettled": 3})
    assert cloud.count("stop") == 0
    assert {r["reason"] for r in fleet.trail.of("target.failed")} == {
        "its status could not be read after the 6s for the shutdown, in 30 attempts; never seen"
    }
    assert 60 < anyio.current_time() < 90


async def test_a_shutdown_that_was_never_accepted_is_followed_by_a_read_before_the_stop() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda _ref, _attempt: failed(409) if cloud.requests[-1][1] == "shutdown" else None
    cloud.status_script = lambda ref, since: (
        StatusRead("stopped" if ref.name == "web-0" and anyio.current_time() > 10 else "running")
        if since is None
        else None
    )
    fleet = fleet_of(cloud, Action.SHUTDOWN, 30, escalates=True)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 2})
    assert [name for _, kind, name in cloud.requests if kind == "stop"] == ["web-1"]
    (escalated,) = fleet.trail.of("action.escalated")
    assert "its shutdown was not accepted within 30s; last seen 'running'" in escalated["reason"]


async def test_a_run_that_goes_on_after_the_deadline_reads_before_it_stops() -> None:
    cloud = FakeCloud(3, seconds=3)
    for ref in cloud.refs:
        cloud.take_effect(ref, Action.SHUTDOWN)
    jobs = [
        work_of(ref, Action.SHUTDOWN, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=0.0) for ref in cloud.refs
    ]
    await anyio.sleep(1000)
    read_error(cloud, "an error", 1000, 1003)
    fleet = Fleet(cloud, jobs=jobs)
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=30)]
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 3})
    assert cloud.count("stop") == 0


async def test_the_deadline_of_others_does_not_wait_for_one_that_can_not_be_read() -> None:
    cloud = FakeCloud(4, seconds=1000)
    hidden = cloud.refs[0].uuid_key

    async def statuses(uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]]:
        value = {normal_uuid(uuid): StatusRead("stopping", True) for uuid in uuids if normal_uuid(uuid) != hidden}
        return Reply(value=value, http_status=200)

    read_error(cloud, "left out", 0, 1000)
    cloud.read_statuses = statuses  # type: ignore[method-assign]
    fleet = fleet_of(cloud, Action.STOP, 20)
    await fleet.go()
    ended = {r["cvm"]["name"]: r["at"] for r in fleet.trail.of("target.failed")}
    assert max(at for name, at in ended.items() if name != "web-0") < 22
    assert ended["web-0"] > 60


async def test_a_stop_in_doubt_whose_status_cannot_be_read_is_read_no_more_often_than_the_lag() -> None:
    cloud = FakeCloud(1, seconds=1)
    cloud.stop_script = lambda _ref, _attempt: failed(500)
    cloud.batch = lambda _uuids: Reply(http_status=500, problem="no")

    async def read_state(_ref: CvmRef) -> Reply[StatusRead]:
        return Reply(http_status=500, problem="no")

    cloud.read_state = read_state  # type: ignore[assignment,method-assign]
    fleet = Fleet(cloud, rate=20, timeout=4)
    await fleet.go()
    assert fleet.outcomes() == {"unsettled": 1}
    rounds = cloud.count("batch")
    assert rounds <= anyio.current_time() / 2 + 6, f"{rounds} reads in {anyio.current_time():.0f}s"
