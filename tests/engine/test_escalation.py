"""A shutdown that takes too long is followed by a stop, for those CVMs alone that did not go down by themselves."""

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

pytestmark = pytest.mark.anyio

STUBBORN = "web-1"


def stubborn(cloud: FakeCloud, *names: str, while_up: StatusRead | None = None) -> None:
    """CVMs that a shutdown does not bring down; a stop does, a second after it."""
    up = while_up or StatusRead("shutting_down", True)

    def script(ref: CvmRef, since: float | None) -> StatusRead | None:
        if ref.name not in names or since is None:
            return None
        done = zip(cloud.effects[ref.name], cloud.did[ref.name], strict=True)
        stops = [at for at, action in done if action is Action.STOP]
        if not stops:
            return up
        return StatusRead("stopped") if anyio.current_time() >= stops[0] + 1 else StatusRead("stopping", True)

    cloud.status_script = script


def shutting_down(cloud: FakeCloud, *, after: float = 30.0, timeout: float = 600.0) -> Fleet:
    """A run that shuts a fleet down, and pulls the power after so many seconds."""
    fleet = Fleet(cloud, action=Action.SHUTDOWN, timeout=timeout)
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, timeout, escalate_after=after)]
    return fleet


async def test_the_power_is_pulled_on_those_alone_that_did_not_go_down_by_themselves() -> None:
    cloud = FakeCloud(6)
    stubborn(cloud, STUBBORN, "web-4")
    fleet = shutting_down(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 6})
    assert sorted(name for _, kind, name in cloud.requests if kind == "stop") == [STUBBORN, "web-4"]
    assert cloud.count("shutdown") == 6


async def test_the_guest_has_its_time_from_its_own_acceptance_and_no_more() -> None:
    cloud = FakeCloud(40)
    stubborn(cloud, *(ref.name for ref in cloud.refs))
    fleet = shutting_down(cloud, after=30.0)
    fleet.gate.budget.rate = 2.0
    await fleet.go()
    asked = {name: at for at, kind, name in cloud.requests if kind == "shutdown"}
    pulled = {name: at for at, kind, name in cloud.requests if kind == "stop"}
    assert all(pulled[name] - asked[name] >= 30 for name in asked)
    assert min(pulled.values()) < 33, "the first is not waited for until all have been asked"


async def test_the_trail_tells_of_each_request_by_what_it_asked_for() -> None:
    cloud = FakeCloud(2)
    stubborn(cloud, STUBBORN)
    fleet = shutting_down(cloud)
    await fleet.go()
    told = [(r["event"], r["action"]) for r in fleet.trail.records if r.get("cvm", {}).get("name") == STUBBORN]
    assert [each for each in told if not each[0].startswith("target.status")] == [
        ("action.intent", "shutdown"),
        ("action.accepted", "shutdown"),
        ("action.escalated", "shutdown"),
        ("action.intent", "stop"),
        ("action.accepted", "stop"),
        ("target.settled", "stop"),
    ]
    (escalated,) = fleet.trail.of("action.escalated")
    assert escalated["to"] == "stop"
    assert "not down within 30s of the shutdown" in escalated["reason"]
    assert [r["attempt"] for r in fleet.trail.of("action.intent", STUBBORN)] == [1, 2]


async def test_one_that_goes_back_to_running_does_not_wait_for_its_time_to_be_up() -> None:
    cloud = FakeCloud(2)
    stubborn(cloud, STUBBORN, while_up=StatusRead("running"))
    fleet = shutting_down(cloud, after=300.0)
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    assert next(at for at, kind, _ in cloud.requests if kind == "stop") < 60


async def test_conflicts_are_waited_out_until_then_and_no_longer() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(409) if cloud.requests[-1][1] == "shutdown" else None
    cloud.status_script = lambda _ref, since: None if since is not None else StatusRead("restarting", True)
    fleet = shutting_down(cloud, after=45.0)
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    (stopped_at,) = (at for at, kind, _ in cloud.requests if kind == "stop")
    assert stopped_at == pytest.approx(45, abs=1)
    assert cloud.count("shutdown") > 3
    assert "was not accepted within 45s" in fleet.trail.of("action.escalated")[0]["reason"]


async def test_a_refusal_is_not_got_round_by_force() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == STUBBORN else None
    fleet = shutting_down(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcome(STUBBORN), cloud.count("stop")) == (Exit.FAILED, "refused", 0)


async def test_a_shutdown_of_unknown_outcome_is_followed_by_a_stop_when_its_time_is_up() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, attempt: failed(502) if attempt == 1 else None
    cloud.status_script = lambda ref, _since: None if cloud.did[ref.name] else StatusRead("unknown")
    fleet = shutting_down(cloud)
    result = await fleet.go()
    assert (result.exit_code, cloud.count("shutdown"), cloud.count("stop")) == (Exit.OK, 1, 1)


async def test_a_stop_of_unknown_outcome_is_not_taken_for_effective_because_the_guest_still_shuts_down() -> None:
    cloud = FakeCloud(1)
    stubborn(cloud, "web-0")
    cloud.stop_script = lambda _ref, attempt: failed(502) if attempt == 2 else None
    fleet = shutting_down(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 1})
    assert cloud.count("stop") == 2


async def test_the_stop_has_the_whole_settle_timeout_and_is_unsettled_after_that() -> None:
    cloud = FakeCloud(1)
    cloud.status_script = lambda _ref, since: None if since is None else StatusRead("shutting_down", True)
    fleet = shutting_down(cloud, after=30.0, timeout=100.0)
    result = await fleet.go()
    assert result.exit_code is Exit.UNSETTLED
    assert "not down within 1m40s of the stop" in fleet.trail.of("target.failed")[0]["reason"]
    assert cloud.count("stop") == 1


async def test_no_power_is_pulled_for_a_shutdown_that_had_no_permit() -> None:
    cloud = FakeCloud(1)
    begun: list[float] = []

    def refuse_at_first(_ref: CvmRef, attempt: int) -> Reply[StatusRead] | None:
        if attempt < 10:
            return failed(None, "no lease", sent=False, permitted=False)
        begun.append(anyio.current_time())
        return None

    cloud.stop_script = refuse_at_first
    fleet = shutting_down(cloud, after=30.0)
    result = await fleet.go()
    assert begun[0] > 60, "after twice the time of a shutdown"
    assert (result.exit_code, fleet.outcomes(), cloud.count("stop")) == (Exit.OK, {"settled": 1}, 0)


async def test_an_interrupted_run_leaves_the_escalation_to_resume() -> None:
    cloud = FakeCloud(2)
    stubborn(cloud, STUBBORN)
    fleet = shutting_down(cloud)
    async with anyio.create_task_group() as group:

        async def interrupt() -> None:
            await anyio.sleep(10)
            fleet.run.interrupt(Ending.SIGINT)

        group.start_soon(interrupt)
        result = await fleet.go()
    assert (result.ending, cloud.count("stop")) == (Ending.SIGINT, 0)
    left = next(job for job in fleet.jobs if job.ref.name == STUBBORN)
    assert (left.outcome, left.is_accepted) == (None, True)
    again = Fleet(cloud, jobs=fleet.jobs)
    again.steps = fleet.steps
    assert (await again.go()).exit_code is Exit.OK
    assert cloud.count("stop") == 1


async def test_a_run_that_failed_too_often_does_not_escalate_any_more_and_says_so() -> None:
    cloud = FakeCloud(3, latency=1.0)
    stubborn(cloud, STUBBORN)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-2" else None
    fleet = Fleet(cloud, action=Action.SHUTDOWN, max_failures="0")
    fleet.steps = [PlannedStep("stop", Action.SHUTDOWN, 600, escalate_after=30)]
    result = await fleet.go()
    assert (result.exit_code, cloud.count("shutdown"), cloud.count("stop")) == (Exit.ENDED_EARLY, 3, 0)
    (reason,) = (r["reason"] for r in fleet.trail.of("target.failed", STUBBORN))
    assert reason.endswith("the run ended before the force-stop")


async def test_the_bill_counts_a_cvm_once_that_was_shut_down_and_then_stopped() -> None:
    cloud = FakeCloud(2)
    stubborn(cloud, STUBBORN)
    fleet = shutting_down(cloud)
    await fleet.go()
    (finished,) = fleet.trail.of("run.finished")
    assert finished["money"] == {"triggered": 2, "compute_usd_per_hour": "0.2", "storage_usd_per_hour": "0.02"}
