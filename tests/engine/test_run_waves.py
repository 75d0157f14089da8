"""A step in waves, on virtual time: the canary first, and nobody of a wave before the one ahead has settled."""

from collections.abc import Sequence
from dataclasses import replace

import anyio
import dirty_equals
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.job import RequestPhase
from orchestrator.engine.result import Deadline
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.resolved_steps import FollowUp, PlannedStep
from orchestrator.playbook.value_types import Dispatch, OnFailure, Share
from orchestrator.reply import StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio

WAVES = [1, 2, 2, 2, 3, 3, 3, 3, 3, 3]
"""web-0 is the canary, then go web-1 to web-3, then the rest."""


def rollout(
    cloud: FakeCloud, *, waves: Sequence[int] = WAVES, on_failure: OnFailure = "continue", **more: object
) -> Fleet:
    jobs = [work_of(ref, wave=wave) for ref, wave in zip(cloud.refs, waves, strict=True)]
    fleet = Fleet(cloud, **{"jobs": jobs, **more})  # type: ignore[arg-type] # whatever Fleet takes
    fleet.steps = [replace(step, on_failure=on_failure) for step in fleet.steps]
    return fleet


def numbers(fleet: Fleet) -> dict[str, int]:
    return {job.ref.name: job.wave for job in fleet.jobs}


def assert_no_wave_overtook(fleet: Fleet) -> None:
    """By the trail: no request of a wave is announced before every target of the waves ahead has its outcome."""
    wave_of = numbers(fleet)
    open_ones = dict(wave_of)
    for record in fleet.trail.records:
        if record["event"] in {"target.settled", "target.failed"}:
            open_ones.pop(record["cvm"]["name"], None)
        elif record["event"] == "action.intent":
            wave = wave_of[record["cvm"]["name"]]
            ahead = [name for name, other in open_ones.items() if other < wave]
            assert not ahead, f"{record['cvm']['name']} of wave {wave} goes while {ahead} are open"


@pytest.mark.parametrize("dispatch", ["single", "batch"])
async def test_a_wave_begins_once_every_target_of_the_one_ahead_has_its_outcome(dispatch: Dispatch) -> None:
    cloud = FakeCloud(10, seconds=20)
    fleet = rollout(cloud, dispatch=dispatch)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 10})
    assert_no_wave_overtook(fleet)
    begun = [record["at"] for record in fleet.trail.of("action.intent")]
    assert begun[1] - begun[0] >= 20
    assert begun[4] - begun[3] >= 20
    assert max(begun[1:4]) - min(begun[1:4]) < 1, "those of one wave do not wait for each other"
    if dispatch == "batch":
        assert cloud.count("stops") == 2, "no batch crosses a wave; the canary goes alone"


@pytest.mark.parametrize(
    "script", [lambda: failed(403), lambda: failed(422), lambda: failed(409, error_code="E")], ids=["403", "422", "409"]
)
async def test_a_canary_that_failed_ends_the_run_and_the_rest_is_never_sent(script: object) -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: script() if ref.name == "web-0" else None  # type: ignore[operator]
    fleet = rollout(cloud)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.CANARY_FAILED, Exit.ENDED_EARLY)
    assert cloud.posts == {"web-0": 1}
    assert fleet.outcomes().get("not_sent") == 9
    assert ["canary" in record["reason"] for record in fleet.trail.of("target.failed")[1:]] == [True] * 9
    assert (fleet.trail.records[-1]["event"], fleet.trail.records[-1]["ending"]) == ("run.finished", "canary_failed")


async def test_a_canary_that_did_not_settle_in_time_ends_the_run() -> None:
    cloud = FakeCloud(10, seconds=10_000)
    fleet = rollout(cloud, timeout=60)
    result = await fleet.go()
    assert result.ending is Ending.CANARY_FAILED
    assert fleet.outcomes() == {"unsettled": 1, "not_sent": 9}


async def test_a_canary_that_came_back_is_seen_by_the_read_before_the_next_wave() -> None:
    cloud = FakeCloud(10)
    cloud.seconds = lambda ref: 3 if ref.name == "web-0" else 30
    cloud.status_script = lambda ref, since: (
        StatusRead("running") if ref.name == "web-0" and since is not None and since > 10 else None
    )
    fleet = rollout(cloud, waves=[1, 1, *[2] * 8])
    result = await fleet.go()
    assert result.ending is Ending.CANARY_FAILED
    assert fleet.outcomes() == {"resurrected": 1, "settled": 1, "not_sent": 8}


@pytest.mark.parametrize("action", [Action.STOP, Action.RESTART, Action.START])
async def test_a_canary_that_is_not_as_wanted_any_more_is_seen_before_every_later_wave(action: Action) -> None:
    cloud = FakeCloud(4, seconds=3)
    cloud.was_down = action is Action.START
    left = "running" if action is Action.STOP else "stopped"

    def script(ref: CvmRef, since: float | None) -> StatusRead | None:
        if ref.name == "web-0" and since is not None and cloud.did["web-1"]:
            return StatusRead(left)
        return StatusRead("restarting", True) if action is Action.RESTART and since is not None and since < 3 else None

    cloud.status_script = script
    jobs = [work_of(ref, action, wave=n + 1) for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, jobs=jobs, action=action)
    result = await fleet.go()
    assert result.ending is Ending.CANARY_FAILED
    assert set(cloud.posts) == {"web-0", "web-1"}
    assert fleet.outcome("web-0") == ("resurrected" if action is Action.STOP else "failed")


@pytest.mark.parametrize(("on_failure", "sent"), [("continue", 4), ("stop", 3)])
async def test_a_middle_wave_is_read_again_before_the_next_one_too(on_failure: OnFailure, sent: int) -> None:
    cloud = FakeCloud(4, seconds=3)
    cloud.status_script = lambda ref, _since: (
        StatusRead("running") if ref.name == "web-1" and cloud.did["web-2"] else None
    )
    fleet = rollout(cloud, waves=[1, 2, 3, 4], on_failure=on_failure)
    result = await fleet.go()
    assert len(cloud.posts) == sent
    assert result.ending is (Ending.COMPLETED if on_failure == "continue" else Ending.STEP_FAILED)
    assert fleet.outcome("web-1") == "resurrected"


async def test_a_step_that_has_to_go_well_is_read_again_before_every_later_step() -> None:
    cloud = FakeCloud(3, seconds=3)
    cloud.status_script = lambda ref, _since: (
        StatusRead("running") if ref.name == "web-0" and cloud.did["web-1"] else None
    )
    jobs = [work_of(ref, step=f"step-{n}") for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, jobs=jobs)
    fleet.steps = [
        PlannedStep("step-0", Action.STOP, 600, "stop"),
        PlannedStep("step-1", Action.STOP, 600),
        PlannedStep("step-2", Action.STOP, 600),
    ]
    result = await fleet.go()
    assert (result.ending, set(cloud.posts)) == (Ending.STEP_FAILED, {"web-0", "web-1"})


@pytest.mark.parametrize(("on_failure", "sent"), [("continue", 10), ("stop", 4)])
async def test_a_later_wave_ends_the_run_only_where_the_step_says_so(on_failure: OnFailure, sent: int) -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-2" else None
    fleet = rollout(cloud, on_failure=on_failure)
    result = await fleet.go()
    assert len(cloud.posts) == sent
    assert result.ending is (Ending.COMPLETED if on_failure == "continue" else Ending.STEP_FAILED)
    assert result.exit_code is (Exit.FAILED if on_failure == "continue" else Exit.ENDED_EARLY)


async def test_more_failures_than_allowed_end_the_run_in_a_later_wave_too() -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name in {"web-1", "web-2"} else None
    fleet = rollout(cloud, max_failures="1")
    result = await fleet.go()
    assert result.ending is Ending.MAX_FAILURES
    assert fleet.outcomes().get("not_sent") == 6


async def test_a_step_of_one_wave_has_no_canary() -> None:
    cloud = FakeCloud(3)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-0" else None
    fleet = rollout(cloud, waves=[1, 1, 1])
    result = await fleet.go()
    assert (result.ending, fleet.outcomes()) == (Ending.COMPLETED, {"refused": 1, "settled": 2})


async def test_a_canary_that_was_down_already_or_is_deleted_meanwhile_holds_nobody_up() -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: failed(404, error_code="ERR-03-001") if ref.name == "web-0" else None
    fleet = rollout(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"gone": 1, "settled": 9})


@pytest.mark.parametrize("ending", [Ending.SIGINT, Ending.SIGTERM])
async def test_an_interruption_in_one_wave_lets_no_later_one_begin(ending: Ending) -> None:
    cloud = FakeCloud(10, seconds=20)
    fleet = rollout(cloud)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(30)
        fleet.run.interrupt(ending)
    assert set(cloud.posts) == {"web-0", "web-1", "web-2", "web-3"}
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
    assert fleet.outcomes() == {"settled": 4}


async def test_an_interruption_while_a_wave_is_read_once_more_is_heard() -> None:
    cloud = FakeCloud(10, seconds=5, latency=1)
    fleet = rollout(cloud)

    def interrupt(_ref: CvmRef, _since: float | None) -> None:
        if fleet.trail.of("target.settled"):
            fleet.run.interrupt(Ending.SIGINT)

    cloud.status_script = interrupt
    result = await fleet.go()
    assert result.ending is Ending.SIGINT
    assert set(cloud.posts) == {"web-0"}


async def test_a_run_taken_up_again_between_waves_goes_on_with_the_same_split() -> None:
    cloud = FakeCloud(10, seconds=20)
    first = rollout(cloud)
    with anyio.move_on_after(30):
        await first.go()
    done = {job.ref.name for job in first.jobs if job.outcome is Outcome.SETTLED}
    assert done == {"web-0"}
    jobs = [
        replace(job, phase=RequestPhase.IN_DOUBT)
        if job.attempts > 0 and not job.is_accepted and job.outcome is None
        else replace(job)
        for job in first.jobs
    ]
    second = rollout(cloud, jobs=jobs)
    result = await second.go()
    assert (result.exit_code, second.outcomes()) == (Exit.OK, {"settled": 10})
    assert set(cloud.posts.values()) == {1}
    second.trail.records = first.trail.records + second.trail.records
    assert_no_wave_overtook(second)


async def test_a_canary_that_had_failed_before_the_crash_still_ends_the_run() -> None:
    cloud = FakeCloud(10)
    jobs = [work_of(ref, wave=wave) for ref, wave in zip(cloud.refs, WAVES, strict=True)]
    jobs[0].attempts, jobs[0].outcome = 1, Outcome.REFUSED
    fleet = rollout(cloud, jobs=jobs)
    result = await fleet.go()
    assert (result.ending, cloud.posts) == (Ending.CANARY_FAILED, {})


async def test_a_wave_that_had_begun_is_finished_and_the_canary_judged_again_before_the_next() -> None:
    cloud = FakeCloud(10)
    cloud.status_script = lambda ref, _since: StatusRead("running") if ref.name == "web-0" else None
    jobs = [work_of(ref, wave=wave) for ref, wave in zip(cloud.refs, WAVES, strict=True)]
    jobs[0].mark_accepted(0.0)
    jobs[0].attempts, jobs[0].outcome = 1, Outcome.SETTLED
    jobs[1].mark_accepted(0.0)
    jobs[1].attempts = 1
    cloud.take_effect(jobs[1].ref)
    fleet = rollout(cloud, jobs=jobs)
    result = await fleet.go()
    assert (result.ending, fleet.outcome("web-0")) == (Ending.CANARY_FAILED, "resurrected")
    assert fleet.outcomes() == {"resurrected": 1, "settled": 3, "not_sent": 6}


@pytest.mark.parametrize("step", [PlannedStep("stop", Action.STOP, 600, order_by="name")])
async def test_with_an_order_requests_go_in_it_and_without_one_teepods_take_turns(step: PlannedStep) -> None:
    def sent(cloud: FakeCloud) -> list[str]:
        return [name for _, kind, name in cloud.requests if kind == "stop"]

    def on_few_teepods() -> FakeCloud:
        cloud = FakeCloud(9)
        cloud.refs = [replace(ref, teepod_id=n // 3) for n, ref in enumerate(cloud.refs)]
        return cloud

    ordered, unordered = on_few_teepods(), on_few_teepods()
    fleet = Fleet(ordered, rate=10, burst=1)
    fleet.steps = [step]
    await fleet.go()
    await Fleet(unordered, rate=10, burst=1).go()
    assert sent(ordered) == [ref.name for ref in ordered.refs]
    assert sent(unordered)[:3] == ["web-0", "web-3", "web-6"]


async def test_an_order_gives_way_to_a_full_teepod() -> None:
    cloud = FakeCloud(4, latency=1)
    cloud.refs = [replace(ref, teepod_id=0 if n < 3 else 1) for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, per_teepod=1)
    fleet.steps = [PlannedStep("stop", Action.STOP, 600, order_by="name")]
    await fleet.go()
    announced = [record["cvm"]["name"] for record in fleet.trail.of("action.intent")]
    assert announced == ["web-0", "web-3", "web-1", "web-2"], "those of one moment may arrive in any order"


async def test_who_went_down_while_the_waves_ahead_took_their_time_is_not_asked() -> None:
    cloud = FakeCloud(10, seconds=100)
    fleet = rollout(cloud)

    def stopped_by_hand(ref: CvmRef, _since: float | None) -> StatusRead | None:
        return StatusRead("stopped") if ref.name in {"web-2", "web-9"} else None

    cloud.status_script = stopped_by_hand
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 8, "skipped": 2})
    assert not {"web-2", "web-9"} & set(cloud.posts)


@pytest.mark.parametrize(("seconds", "met", "late"), [(1, False, 9), (25, False, 6), (60, True, 0)])
async def test_the_end_of_a_run_says_whether_its_deadline_was_met_and_nothing_is_cut_off(
    seconds: float, met: bool, late: int
) -> None:
    fleet = rollout(FakeCloud(10, seconds=20), due=Deadline(seconds, seconds))
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 10})
    assert fleet.trail.records[-1]["deadline"] == {"seconds": seconds, "met": met, "late": late}


async def test_whoever_was_never_asked_was_not_asked_in_time() -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-0" else None
    fleet = rollout(cloud, due=Deadline(600, 600))
    await fleet.go()
    assert fleet.trail.records[-1]["deadline"] == {"seconds": 600, "met": False, "late": 9}


async def test_a_step_that_takes_up_a_result_has_its_order_and_waves_once_its_targets_are_known() -> None:
    cloud = FakeCloud(6, seconds=5)
    cloud.refs = [replace(ref, name=f"web-{9 - n}") for n, ref in enumerate(cloud.refs)]
    cloud.status_script = lambda ref, _since: (
        StatusRead("shutting_down", True) if cloud.did[ref.name] == [Action.SHUTDOWN] and ref.name != "web-9" else None
    )
    jobs = [work_of(ref, Action.SHUTDOWN, step="ask") for ref in cloud.refs]
    fleet = Fleet(cloud, jobs=jobs)
    sizes = (Share.parse("1"), Share.parse("50%"))
    covers_cvm = FollowUp("ask", frozenset({Outcome.UNSETTLED}))
    fleet.steps = [
        PlannedStep("ask", Action.SHUTDOWN, 20),
        PlannedStep("pull", Action.STOP, 60, follows=covers_cvm, waves=sizes, order_by="name"),
    ]
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 6})
    (planned,) = fleet.trail.of("step.planned")
    assert [(target["cvm"]["name"], target["wave"]) for target in planned["targets"]] == [
        ("web-4", 1),
        ("web-5", 2),
        ("web-6", 2),
        ("web-7", 3),
        ("web-8", 3),
    ]
    fleet.jobs = [job for job in fleet.run.ledger.jobs if job.step == "pull"]
    fleet.trail.records = [record for record in fleet.trail.records if record.get("step") == "pull"]
    assert_no_wave_overtook(fleet)


async def test_a_key_that_is_refused_between_waves_ends_the_run_resumable() -> None:
    cloud = FakeCloud(10)
    cloud.stop_script = lambda ref, _attempt: failed(401) if ref.name == "web-1" else None
    fleet = rollout(cloud, settle=SettleSettings(recheck_after=1))
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.KEY_REFUSED, Exit.ENDED_EARLY)
    assert "not_sent" not in fleet.outcomes()
    assert not {f"web-{n}" for n in range(4, 10)} & set(cloud.posts)


def soaking(cloud: FakeCloud, soak: float, **more: object) -> Fleet:
    fleet = rollout(cloud, waves=[1, 2, 2, 3], **more)  # type: ignore[arg-type] # whatever it takes
    fleet.steps = [replace(step, soak=soak) for step in fleet.steps]
    return fleet


async def test_the_next_wave_waits_for_the_soak_and_the_last_one_has_none() -> None:
    cloud = FakeCloud(4, seconds=3)
    fleet = soaking(cloud, 600)
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    begun = sorted({round(record["at"], -2) for record in fleet.trail.of("action.intent")})
    assert begun == [0, 600, 1200]
    assert [(r["step"], r["wave"], r["until"]) for r in fleet.trail.of("wave.soaking")] == [
        ("stop", 1, dirty_equals.IsStr(regex=r"2026-11-23T08:10:0\d.*")),
        ("stop", 2, dirty_equals.IsStr(regex=r"2026-11-23T08:20:0\d.*")),
    ]
    assert anyio.current_time() < 1300


async def test_a_canary_that_comes_back_while_the_wave_soaks_ends_the_run() -> None:
    cloud = FakeCloud(4, seconds=3)
    cloud.status_script = lambda _ref, since: StatusRead("running") if since is not None and since > 300 else None
    fleet = soaking(cloud, 600)
    result = await fleet.go()
    assert (result.ending, cloud.posts) == (Ending.CANARY_FAILED, {"web-0": 1})


async def test_an_interruption_ends_the_soak_and_a_resume_waits_for_what_is_left_of_it() -> None:
    cloud = FakeCloud(4, seconds=3)
    first = soaking(cloud, 600)
    async with anyio.create_task_group() as group:
        group.start_soon(first.go)
        await anyio.sleep(200)
        first.run.interrupt(Ending.SIGINT)
    assert anyio.current_time() < 201
    await anyio.sleep(100)
    second = soaking(cloud, 600, jobs=first.jobs, soaks=first.run._control.soaks)
    assert (await second.go()).exit_code is Exit.OK
    assert 600 < second.trail.of("action.intent")[0]["at"] < 610
    assert [record["wave"] for record in second.trail.of("wave.soaking")] == [2]
