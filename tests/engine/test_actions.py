"""Shutdown, start and restart as runs on virtual time, and what follows a step that did not end as wanted."""

from typing import Literal

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.read.status import Observation
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, StopScript, failed, work_of

pytestmark = pytest.mark.anyio

OTHERS = [Action.SHUTDOWN, Action.START, Action.RESTART]


def fleet_of(action: Action, count: int, **more: float) -> Fleet:
    cloud = FakeCloud(count, **more)
    cloud.was_down = action is Action.START
    return Fleet(cloud, action=action, timeout=60)


@pytest.mark.parametrize("action", OTHERS)
async def test_each_action_is_sent_once_as_itself_and_settles(action: Action) -> None:
    fleet = fleet_of(action, 30)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 30})
    assert fleet.cloud.count(action.value) == len(fleet.cloud.posts) == 30
    assert {record["action"] for record in fleet.trail.records if "action" in record} == {action.value}
    triggered = {record["billing"]["triggered"] for record in fleet.trail.of("action.accepted")}
    assert triggered == {{Action.SHUTDOWN: True, Action.START: False, Action.RESTART: None}[action]}


@pytest.mark.parametrize("action", OTHERS)
async def test_reads_that_lag_change_nothing(action: Action) -> None:
    fleet = fleet_of(action, 30, seconds=5, lag=1.9)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 30}
    assert set(fleet.cloud.posts.values()) == {1}


@pytest.mark.parametrize("action", OTHERS)
async def test_a_lost_answer_to_what_had_its_effect_is_never_followed_by_a_second_request(action: Action) -> None:
    fleet = fleet_of(action, 20, lag=1.5)

    def lose(ref: CvmRef, _attempt: int) -> Reply[StatusRead]:
        fleet.cloud.take_effect(ref, action)
        return failed(502)

    fleet.cloud.stop_script = lose
    await fleet.go()
    assert fleet.outcomes() == {"settled": 20}
    assert set(fleet.cloud.posts.values()) == {1}
    assert [record["observed"] for record in fleet.trail.of("action.accepted")] == [True] * 20


@pytest.mark.parametrize("action", [Action.SHUTDOWN, Action.START])
async def test_what_had_no_effect_is_sent_again_once_a_late_read_shows_it(action: Action) -> None:
    fleet = fleet_of(action, 5)
    fleet.cloud.stop_script = lambda _ref, attempt: failed(502) if attempt == 1 else None
    await fleet.go()
    assert fleet.outcomes() == {"settled": 5}
    assert {len(times) for times in fleet.cloud.effects.values()} == {1}
    firsts: dict[str, float] = {}
    for at, kind, name in fleet.cloud.requests:
        if kind == action.value:
            assert at == firsts.setdefault(name, at) or at - firsts[name] >= 2


async def test_a_restart_of_unknown_outcome_that_was_not_seen_is_failed_and_not_repeated() -> None:
    fleet = fleet_of(Action.RESTART, 3)
    fleet.cloud.stop_script = lambda _ref, _attempt: failed(None, "the connection broke")
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"failed": 3})
    assert set(fleet.cloud.posts.values()) == {1}
    assert "never seen to restart" in fleet.trail.of("target.failed")[0]["reason"]
    assert anyio.current_time() < 30


@pytest.mark.parametrize("action", OTHERS)
async def test_an_operation_in_progress_is_waited_for_but_not_forever(action: Action) -> None:
    fleet = fleet_of(action, 4)
    busy: StopScript = lambda ref, attempt: failed(409, "busy") if attempt < 4 or ref.name == "web-0" else None  # noqa: E731
    fleet.cloud.stop_script = busy
    await fleet.go()
    assert fleet.outcomes() == {"settled": 3, "failed": 1}
    assert 60 < anyio.current_time() < 130
    assert len(fleet.trail.of("action.deferred", "web-1")) == 3


async def test_a_start_without_a_free_gpu_is_tried_again_at_growing_distance_and_given_up_with_the_api_s_words() -> (
    None
):
    fleet = fleet_of(Action.START, 1)
    fleet.cloud.stop_script = lambda _ref, _attempt: failed(500, "HTTP 500 ERR-02-006: GPU allocation failed")
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"failed": 1})
    assert 4 <= fleet.cloud.posts["web-0"] <= 8
    assert "GPU allocation failed" in fleet.trail.of("target.failed")[0]["reason"]


@pytest.mark.parametrize(("status", "outcome"), [(400, "failed"), (403, "refused"), (404, "failed")])
async def test_a_start_that_can_not_be_paid_is_refused_or_meets_no_cvm_ends_at_once(status: int, outcome: str) -> None:
    fleet = fleet_of(Action.START, 2)
    code = "ERR-03-001" if status == 404 else None
    fleet.cloud.stop_script = lambda _ref, _attempt: failed(status, "Insufficient balance", error_code=code)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {outcome: 2})
    assert set(fleet.cloud.posts.values()) == {1}
    assert fleet.trail.of("target.failed")[0]["reason"] == "Insufficient balance"


@pytest.mark.parametrize(("action", "outcome"), [(Action.SHUTDOWN, "gone"), (Action.START, "failed")])
async def test_a_cvm_that_is_deleted_meanwhile_is_down_for_good_but_nothing_that_runs(
    action: Action, outcome: str
) -> None:
    fleet = fleet_of(action, 2)

    def vanish(ref: CvmRef) -> None:
        if ref.name == "web-1":
            fleet.cloud.gone.add(ref.name)

    fleet.cloud.on_stop = vanish
    await fleet.go()
    assert fleet.outcome("web-1") == outcome
    assert fleet.outcome("web-0") == "settled"


@pytest.mark.parametrize("action", [Action.START, Action.RESTART])
async def test_a_cvm_that_ran_and_is_down_at_the_end_of_the_run_has_failed(action: Action) -> None:
    fleet = fleet_of(action, 3)

    def script(ref: CvmRef, since: float | None) -> StatusRead | None:
        slow = ref.name == "web-0"
        if since is None:
            return None
        if slow:
            return StatusRead("running") if since > 30 else StatusRead("starting", True)
        return StatusRead("stopped") if since > 10 and ref.name == "web-1" else None

    fleet.cloud.status_script = script
    result = await fleet.go()
    assert (result.exit_code, fleet.outcome("web-1")) == (Exit.FAILED, "failed")
    reason = fleet.trail.of("target.failed", "web-1")[0]["reason"]
    assert reason == "it was seen running, and read once more its status is 'stopped' again"


async def test_a_start_that_does_not_come_up_in_time_is_unsettled() -> None:
    fleet = fleet_of(Action.START, 1, seconds=1000)
    result = await fleet.go()
    assert result.exit_code is Exit.UNSETTLED
    assert fleet.trail.of("target.failed")[0]["reason"] == "not running within 1m of the start; last seen 'starting'"


async def test_what_is_as_wanted_by_a_fresh_read_is_skipped_and_a_stopped_cvm_is_never_restarted() -> None:
    cloud = FakeCloud(4)
    jobs = [work_of(ref, action) for ref, action in zip(cloud.refs, [*OTHERS, Action.START], strict=True)]
    fleet = Fleet(cloud, jobs=jobs)
    told = ["stopped", "running", "stopped", "stopped"]
    fleet.run.apply_statuses(
        {job.ref.key: Observation(StatusRead(status), 0) for job, status in zip(jobs, told, strict=True)}
    )
    assert [job.outcome for job in jobs] == ["skipped", "skipped", "failed", None]


async def test_only_stops_are_sent_in_batches() -> None:
    cloud = FakeCloud(10)
    fleet = Fleet(cloud, action=Action.SHUTDOWN, dispatch="batch")
    await fleet.go()
    assert (cloud.count("stops"), cloud.count("shutdown")) == (0, 10)


def two_steps(cloud: FakeCloud, on_failure: Literal["continue", "stop"]) -> Fleet:
    """The first half is shut down, then the second half is stopped."""
    half = len(cloud.refs) // 2
    jobs = [work_of(ref, Action.SHUTDOWN, step="first") for ref in cloud.refs[:half]]
    jobs += [work_of(ref, Action.STOP, step="second") for ref in cloud.refs[half:]]
    fleet = Fleet(cloud, jobs=jobs)
    fleet.steps = [
        PlannedStep("first", Action.SHUTDOWN, 60, on_failure),
        PlannedStep("second", Action.STOP, 60),
    ]
    return fleet


async def test_a_step_that_did_not_end_as_wanted_lets_the_next_one_begin_unless_told_otherwise() -> None:
    for on_failure, outcomes, code in (
        ("continue", {"settled": 5, "refused": 1}, Exit.FAILED),
        ("stop", {"settled": 2, "refused": 1, "not_sent": 3}, Exit.ENDED_EARLY),
    ):
        cloud = FakeCloud(6)
        cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-1" else None
        fleet = two_steps(cloud, on_failure)  # type: ignore[arg-type] # one of the two words
        result = await fleet.go()
        assert (fleet.outcomes(), result.exit_code) == (outcomes, code)
        assert fleet.trail.records[-1]["event"] == "run.finished"


@pytest.mark.parametrize("what", ["unsettled", "resurrected"])
async def test_a_time_out_or_a_cvm_that_came_back_ends_a_run_that_is_told_to_stop_on_failure(what: str) -> None:
    cloud = FakeCloud(6)

    def script(ref: CvmRef, since: float | None) -> StatusRead | None:
        if since is None or ref.name not in {"web-0", "web-1"}:
            return None
        if ref.name == "web-0":  # slow enough for the other one to come back
            return StatusRead("stopped") if since > 30 else StatusRead("shutting_down", True)
        if what == "unsettled":
            return StatusRead("shutting_down", True)
        return StatusRead("running") if since > 15 else None

    cloud.status_script = script
    fleet = two_steps(cloud, "stop")
    result = await fleet.go()
    assert fleet.outcomes() == {"settled": 2, what: 1, "not_sent": 3}
    assert (result.ending, result.exit_code) == (Ending.STEP_FAILED, Exit.ENDED_EARLY)
    assert cloud.count("stop") == 0
    assert "on_failure: stop" in fleet.trail.of("target.failed", "web-4")[0]["reason"]


async def test_a_step_that_ended_as_wanted_lets_the_next_one_begin() -> None:
    fleet = two_steps(FakeCloud(6), "stop")
    result = await fleet.go()
    assert (fleet.outcomes(), result.exit_code) == ({"settled": 6}, Exit.OK)


async def test_when_nothing_is_left_to_send_the_run_has_not_ended_early() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda _ref, _attempt: failed(403)
    fleet = two_steps(cloud, "stop")
    fleet.run.ledger.jobs.pop()
    result = await fleet.go()
    assert (fleet.outcomes(), result.exit_code) == ({"refused": 1}, Exit.FAILED)


async def test_once_a_later_step_has_begun_a_resume_does_not_ask_again_how_the_first_one_ended() -> None:
    cloud = FakeCloud(6)
    fleet = two_steps(cloud, "stop")
    for job in fleet.jobs[:3]:
        job.outcome, job.attempts = job.outcome_if_deleted if job.ref.name != "web-0" else job.outcome, 1
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-0" else None
    fleet.jobs[3].attempts = 1
    result = await fleet.go()
    assert result.exit_code is Exit.FAILED
    assert cloud.count("stop") == 3
