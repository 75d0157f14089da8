"""A run that ends early for good, and is cut short before it could confirm what it did: nothing unread is settled."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.protocols import Answer
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.resolved_steps import PlannedStep, Question
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of
from tests.engine.rate.test_breaker import Outage

pytestmark = pytest.mark.anyio

SETTLE = SettleSettings(cloud_down=60)


class Refuser:
    """Answers no at once."""

    async def wait_for_answer(self, step: str, question: str, expires_at: datetime) -> Answer | None:
        del step, question, expires_at
        return Answer(approved=False, by="ann@desk", via="terminal")

    def find_answer(self) -> Answer | None:
        return None


def too_many_failures(cloud: FakeCloud) -> Fleet:
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-5" else None
    return Fleet(cloud, rate=10, burst=1, max_failures="0", settle=SETTLE)


def failed_canary(cloud: FakeCloud, settle: SettleSettings = SETTLE) -> Fleet:
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-5" else None
    jobs = [work_of(ref, wave=1 if n < 6 else 2) for n, ref in enumerate(cloud.refs)]
    return Fleet(cloud, jobs=jobs, settle=settle)


def failed_step(cloud: FakeCloud) -> Fleet:
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name == "web-5" else None
    jobs = [work_of(ref, step="first" if n < 6 else "rest") for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, jobs=jobs, settle=SETTLE)
    fleet.steps = [PlannedStep("first", Action.STOP, 600, on_failure="stop"), PlannedStep("rest", Action.STOP, 600)]
    return fleet


def a_no(cloud: FakeCloud) -> Fleet:
    jobs = [work_of(ref, step="first" if n < 5 else "rest") for n, ref in enumerate(cloud.refs)]
    fleet = Fleet(cloud, jobs=jobs, approver=Refuser(), settle=SETTLE)
    rest = [Question("look", "Go on?", 60.0), PlannedStep("rest", Action.STOP, 600)]
    fleet.steps = [PlannedStep("first", Action.STOP, 600), *rest]  # type: ignore[list-item] # steps of any kind
    return fleet


def goes_down_when(cloud: FakeCloud, moment: Callable[[], bool]) -> None:
    """From the first status read at this moment on, the API is down for good."""
    stop = cloud.stop_script
    outage = Outage(cloud, float("inf"), float("inf"))
    cloud.stop_script = stop
    read = cloud.batch

    def batch(uuids: object) -> object:
        if moment():
            outage.start = min(outage.start, anyio.current_time())
        return read(uuids)  # type: ignore[arg-type] # as they came

    cloud.batch = batch  # type: ignore[assignment] # the same


@pytest.mark.parametrize("story", [too_many_failures, failed_canary, failed_step, a_no])
async def test_what_the_last_reads_could_not_confirm_is_unsettled_and_the_log_says_what_cut_them_short(
    story: Callable[[FakeCloud], Fleet],
) -> None:
    cloud = FakeCloud(20)
    fleet = story(cloud)
    goes_down_when(cloud, lambda: fleet.run._control.ending is not None and not _open(fleet))
    result = await fleet.go()
    last = fleet.trail.records[-1]
    assert (result.exit_code, last["event"], last["cut_short_by"]) == (Exit.ENDED_EARLY, "run.finished", "cloud_down")
    assert fleet.outcomes()["unsettled"] == 5
    assert "settled" not in fleet.outcomes()
    assert anyio.current_time() < 300
    reasons = {record["reason"] for record in fleet.trail.of("target.failed") if record["outcome"] == "unsettled"}
    assert reasons == {"it was seen down, but the API was down for too long before its status was read once more"}


async def test_a_stop_that_was_sent_is_never_called_not_sent_when_its_watch_is_cut_short() -> None:
    cloud = FakeCloud(20)
    replies = {"web-3": failed(500), "web-5": failed(403)}
    cloud.stop_script = lambda ref, _attempt: replies.get(ref.name)
    fleet = Fleet(cloud, rate=10, burst=1, max_failures="0", settle=SETTLE)
    goes_down_when(cloud, lambda: fleet.run._control.ending is not None)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.MAX_FAILURES, Exit.ENDED_EARLY)
    assert {fleet.outcome(f"web-{n}") for n in (0, 1, 2, 3, 4)} == {"unsettled"}
    assert fleet.outcomes() == {"unsettled": 5, "refused": 1, "not_sent": 14}
    reasons = {record["cvm"]["name"]: record["reason"] for record in fleet.trail.of("target.failed")}
    assert reasons["web-0"] == "the API was down for too long before it was seen down"
    assert reasons["web-3"] == ("the API was down for too long before a status showed whether its stop had an effect")


@pytest.mark.parametrize("while_watching", [True, False])
async def test_a_run_cut_short_with_nothing_left_to_send_can_be_resumed(while_watching: bool) -> None:
    cloud = FakeCloud(6)
    fleet = too_many_failures(cloud)
    goes_down_when(cloud, lambda: fleet.run._control.ending is not None and (while_watching or not _open(fleet)))
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.CLOUD_DOWN, Exit.ENDED_EARLY)
    assert fleet.trail.records[-1]["event"] == "run.interrupted"


async def test_an_interruption_of_the_last_reads_leaves_them_to_resume() -> None:
    cloud = FakeCloud(20)
    fleet = too_many_failures(cloud)

    def batch(_uuids: object) -> Any:  # noqa: ANN401 - no reply of its own
        if fleet.run._control.ending is not None and not _open(fleet):
            fleet.run.interrupt(Ending.SIGTERM)

    cloud.batch = batch
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.SIGTERM, Exit.SIGTERM)
    assert fleet.outcomes() == {"settled": 5, "refused": 1}


async def test_the_time_for_the_whole_run_cuts_the_last_reads_short_as_well() -> None:
    cloud = FakeCloud(20)
    fleet = failed_canary(cloud, SettleSettings(cloud_down=1e9, whole_run=90))
    goes_down_when(cloud, lambda: fleet.run._control.ending is not None)
    result = await fleet.go()
    assert (result.ending, fleet.trail.records[-1]["cut_short_by"]) == (Ending.CANARY_FAILED, "timed_out")
    assert fleet.outcomes() == {"unsettled": 5, "refused": 1, "not_sent": 14}


def _open(fleet: Fleet) -> bool:
    """Whether a request that was sent has no outcome yet."""
    return any(job.attempts and job.outcome is None for job in fleet.jobs)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_cancelled_run_watches_what_was_sent_unless_at_once_and_leaves_nothing_to_resume(at_once: bool) -> None:
    cloud = FakeCloud(10, seconds=20)
    fleet = Fleet(cloud, rate=1, burst=1)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(3.5)
        fleet.run.cancel("ann@desk", at_once=at_once)
        fleet.run.cancel("bob@desk", at_once=at_once)
    last = fleet.trail.records[-1]
    assert (last["event"], last["ending"], last["exit_code"]) == ("run.finished", "cancelled", 8)
    assert last["cancelled_by"] == "ann@desk"
    assert fleet.outcomes() == {"unsettled" if at_once else "settled": 4, "not_sent": 6}
    assert last.get("cut_short_by") == ("cancelled" if at_once else None)
    assert anyio.current_time() < (8 if at_once else 40)
    assert {record["code"] for record in fleet.trail.of("target.failed") if "code" in record} == {"cancelled"}
