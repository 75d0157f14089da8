"""A wave: targets to send and targets to watch, the end after a halt, and the decision about an escalation."""

from typing import Any

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.wave import Wave
from orchestrator.outcome import Ending, Outcome, Reason, SkipReason
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.playbook.value_types import Dispatch
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio


class Waving:
    """A wave over a fake cloud, with this object as the control of the run."""

    def __init__(
        self,
        cloud: FakeCloud,
        *jobs: Job,
        action: Action = Action.STOP,
        escalate_after: float | None = None,
        dispatch: Dispatch = "single",
        rate: float = 100,
    ) -> None:
        self.fleet = Fleet(cloud, action=action, jobs=jobs or None, dispatch=dispatch, rate=rate)
        self.cloud, self.jobs, self.trail = cloud, self.fleet.jobs, self.fleet.trail
        self.step = PlannedStep("stop", action, 60, escalate_after=escalate_after)
        self.ending: Ending | None = None
        self.failures: list[PlannedStep | None] = []
        self.wave = Wave(self.fleet.context, self.fleet.workspace, self.step, self.fleet.context.limits, self)

    def count_failures(self, step: PlannedStep | None = None) -> None:
        self.failures.append(step)

    async def run(self) -> None:
        await self.wave.run(self.jobs)

    async def run_and_halt(self, after: float, **how: Any) -> None:  # noqa: ANN401 - the arguments of `halt`
        """Run, and halt after so many seconds."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.run)
            await anyio.sleep(after)
            self.wave.halt(**how)


def shutdowns(*jobs: Job, cloud: FakeCloud | None = None) -> Waving:
    return Waving(cloud or FakeCloud(len(jobs) or 1), *jobs, action=Action.SHUTDOWN, escalate_after=30)


async def test_a_wave_sends_to_every_target_and_ends_once_every_target_has_its_outcome() -> None:
    waving = Waving(FakeCloud(5, seconds=3))
    await waving.run()
    assert waving.fleet.outcomes() == {"settled": 5}
    assert waving.cloud.count("stop") == 5
    assert (waving.failures, waving.wave.cut_short, waving.wave.unsent) == ([], False, 0)


async def test_an_accepted_target_of_a_resumed_run_is_watched_from_its_acceptance_and_not_sent_again() -> None:
    cloud = FakeCloud(1)
    cloud.status_script = lambda _ref, _since: StatusRead("stopping", True)
    target = work_of(cloud.refs[0], attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=-50.0)
    waving = Waving(cloud, target)
    await waving.run()
    assert cloud.count("stop") == 0
    assert target.outcome is Outcome.UNSETTLED
    assert 10 <= anyio.current_time() < 11, "60 seconds from the acceptance"


@pytest.mark.parametrize("phase", [RequestPhase.IN_DOUBT, RequestPhase.UNANSWERED])
async def test_a_target_in_doubt_with_an_effect_is_not_sent_again(phase: RequestPhase) -> None:
    cloud = FakeCloud(1, seconds=5)
    cloud.take_effect(cloud.refs[0])
    target = work_of(cloud.refs[0], attempts=1, phase=phase)
    waving = Waving(cloud, target)
    await waving.run()
    assert (cloud.count("stop"), target.outcome) == (0, Outcome.SETTLED)
    assert waving.trail.of("action.accepted")[0]["observed"] is True


async def test_a_target_in_doubt_without_an_effect_is_sent_again_after_the_lag_of_a_status() -> None:
    cloud = FakeCloud(1, seconds=3)
    target = work_of(cloud.refs[0], attempts=1, phase=RequestPhase.IN_DOUBT)
    await Waving(cloud, target).run()
    (sent_at,) = (at for at, kind, _ in cloud.requests if kind == "stop")
    assert 2 <= sent_at < 3
    assert target.outcome is Outcome.SETTLED


@pytest.mark.parametrize("escalate_after", [30, None])
async def test_a_request_without_an_answer_is_sent_again_only_if_its_status_shows_no_effect(
    escalate_after: float | None,
) -> None:
    cloud = FakeCloud(2)
    cloud.seconds = lambda _ref: 3

    def lose(ref: CvmRef, attempt: int) -> Reply[StatusRead] | None:
        if ref.name == "web-0":
            cloud.take_effect(ref, Action.SHUTDOWN)
        return failed(502) if attempt == 1 else None

    cloud.stop_script = lose
    jobs = [work_of(ref, Action.SHUTDOWN) for ref in cloud.refs]
    waving = Waving(cloud, *jobs, action=Action.SHUTDOWN, escalate_after=escalate_after)
    await waving.run()
    assert waving.fleet.outcomes() == {"settled": 2}
    assert dict(cloud.posts) == {"web-0": 1, "web-1": 2}
    assert cloud.count("stop") == 0


async def test_a_target_in_doubt_stays_in_doubt_for_resume_after_a_halt() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(502)
    waving = Waving(cloud)
    await waving.run_and_halt(0.5, at_once=True, stop_watching=True)
    assert waving.jobs[0].phase is RequestPhase.IN_DOUBT


async def test_batches_are_full_and_go_before_targets_with_a_request_of_their_own() -> None:
    cloud = FakeCloud(60, seconds=1)
    cloud.refs = [CvmRef(ref.id, ref.vm_uuid, ref.name, teepod_id=n) for n, ref in enumerate(cloud.refs)]
    jobs = [work_of(ref, needs_own_request=number % 6 == 0) for number, ref in enumerate(cloud.refs)]
    waving = Waving(cloud, *jobs, dispatch="batch", rate=20)
    await waving.run()
    sizes = [(kind, count) for _, kind, count in cloud.requests if kind in {"stop", "stops"}]
    assert sizes[0] == ("stops", "50")
    assert [kind for kind, _ in sizes[1:]] == ["stop"] * 10
    assert [each["cvm"]["name"] for each in waving.trail.of("action.intent")][50:] == [
        f"web-{n}" for n in range(0, 60, 6)
    ]


async def test_without_batches_targets_keep_their_order_whatever_their_request() -> None:
    cloud = FakeCloud(3, seconds=1)
    cloud.refs = [CvmRef(ref.id, ref.vm_uuid, ref.name, teepod_id=1) for ref in cloud.refs]
    jobs = [work_of(ref, needs_own_request=ref.name == "web-0") for ref in cloud.refs]
    await Waving(cloud, *jobs).run()
    assert [name for _, kind, name in cloud.requests if kind == "stop"] == ["web-0", "web-1", "web-2"]


async def test_each_failure_is_checked_against_the_limits_of_the_run_and_of_the_step() -> None:
    cloud = FakeCloud(3)
    cloud.stop_script = lambda ref, _attempt: failed(403) if ref.name != "web-0" else None
    waving = Waving(cloud)
    await waving.run()
    assert waving.failures == [waving.step, waving.step]


async def test_a_halt_sends_no_more_and_watches_sent_requests_to_the_end() -> None:
    waving = Waving(FakeCloud(50, seconds=10), rate=10)
    await waving.run_and_halt(1, at_once=True, stop_watching=False)
    assert 5 <= waving.cloud.count("stop") <= 20
    assert waving.fleet.outcomes() == {"settled": waving.cloud.count("stop")}
    assert waving.wave.unsent == 0, "polls need not leave room for requests any more"


async def test_a_halt_at_once_sends_not_even_the_requests_on_record() -> None:
    sent: dict[bool, int] = {}
    for at_once in (True, False):
        waving = Waving(FakeCloud(50), rate=100)
        await waving.run_and_halt(0.203, at_once=at_once, stop_watching=True)
        sent[at_once] = waving.cloud.count("stop")
        announced = len(waving.trail.of("action.intent"))
        assert (announced > sent[at_once]) is at_once
    assert sent[True] < sent[False]


async def test_a_halt_without_watching_leaves_sent_requests_open() -> None:
    waving = Waving(FakeCloud(3, seconds=30))
    await waving.run_and_halt(5, at_once=True, stop_watching=True)
    assert anyio.current_time() == 5
    assert [job.outcome for job in waving.jobs] == [None] * 3
    assert all(job.is_accepted for job in waving.jobs)


@pytest.mark.parametrize(("hurry", "seconds"), [(True, 3), (False, 60)])
async def test_only_a_halt_in_a_hurry_gives_up_open_answers_and_after_two_seconds(hurry: bool, seconds: float) -> None:
    waving = Waving(FakeCloud(1, latency=60))
    more = {"hurry": True} if hurry else {}
    await waving.run_and_halt(1, at_once=True, stop_watching=True, **more)
    assert anyio.current_time() == pytest.approx(seconds, abs=0.2)
    assert len(waving.trail.of("action.unknown")) == hurry


async def test_a_second_hurry_gives_no_more_time() -> None:
    waving = Waving(FakeCloud(1, latency=60))
    async with anyio.create_task_group() as group:
        group.start_soon(waving.run)
        for _ in range(2):
            await anyio.sleep(1)
            waving.wave.halt(at_once=True, stop_watching=True, hurry=True)
    assert anyio.current_time() == pytest.approx(3, abs=0.1)


async def test_a_cvm_still_up_after_its_shutdown_is_stopped() -> None:
    cloud = FakeCloud(1)
    cloud.seconds = lambda ref: 1 if Action.STOP in cloud.did[ref.name] else 1000
    waving = shutdowns(cloud=cloud)
    await waving.run()
    assert [kind for _, kind, _ in cloud.requests if kind in {"stop", "shutdown"}] == ["shutdown", "stop"]
    assert (waving.jobs[0].outcome, waving.failures, waving.wave.cut_short) == (Outcome.SETTLED, [], False)
    assert waving.trail.of("action.escalated")[0]["reason"].startswith("not down within 30s of the shutdown")


async def test_a_cvm_stopped_and_down_leaves_the_time_of_other_shutdowns_as_it_is() -> None:
    cloud = FakeCloud(2)
    cloud.seconds = lambda ref: 1 if Action.STOP in cloud.did[ref.name] else 1000
    jobs = []
    for ref, accepted_at in zip(cloud.refs, (-29.0, 0.0), strict=True):
        cloud.take_effect(ref, Action.SHUTDOWN)
        jobs.append(
            work_of(ref, Action.SHUTDOWN, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=accepted_at, billed=True)
        )
    waving = shutdowns(*jobs, cloud=cloud)
    await waving.run()
    stops = [round(at) for at, kind, _ in cloud.requests if kind == "stop"]
    assert (waving.fleet.outcomes(), stops) == ({"settled": 2}, [1, 30])


async def test_the_dispatcher_waits_for_every_shutdown_that_may_need_a_stop() -> None:
    cloud = FakeCloud(2)
    cloud.seconds = lambda ref: 1 if ref.name == "web-0" or Action.STOP in cloud.did[ref.name] else 1000
    waving = shutdowns(*[work_of(ref, Action.SHUTDOWN) for ref in cloud.refs], cloud=cloud)
    await waving.run()
    assert waving.fleet.outcomes() == {"settled": 2}
    assert [name for _, kind, name in cloud.requests if kind == "stop"] == ["web-1"]


def overdue(cloud: FakeCloud, **fields: Any) -> Job:  # noqa: ANN401 - any field of a job
    """A shutdown accepted long ago, of a CVM that is still shutting down."""
    cloud.status_script = lambda _ref, _since: StatusRead("shutting_down", True)
    return work_of(
        cloud.refs[0],
        Action.SHUTDOWN,
        attempts=1,
        phase=RequestPhase.ACCEPTED,
        accepted_at=-31.0,
        billed=True,
        **fields,
    )


async def test_a_withheld_cvm_is_not_stopped_after_its_shutdown() -> None:
    cloud = FakeCloud(1)
    target = overdue(cloud, withheld=Reason(SkipReason.PROTECTED, "a tag"))
    waving = shutdowns(target, cloud=cloud)
    await waving.run()
    assert (target.outcome, cloud.count("stop"), waving.failures) == (Outcome.UNSETTLED, 0, [waving.step])
    assert waving.trail.of("target.failed")[0]["reason"].endswith("; not stopped: protected by a tag")
    assert not waving.wave.cut_short


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [(Ending.MAX_FAILURES, Outcome.UNSETTLED), (Ending.SIGINT, None), (None, None)],
    ids=["ended for good", "interrupted", "not ended"],
)
async def test_a_halted_wave_stops_no_cvm_after_its_shutdown_and_leaves_the_stop_to_resume(
    ending: Ending | None, outcome: Outcome | None
) -> None:
    cloud = FakeCloud(1)
    waving = shutdowns(overdue(cloud), cloud=cloud)
    waving.ending = ending
    waving.wave.halt(at_once=True, stop_watching=False)
    await waving.run()
    assert (waving.jobs[0].outcome, cloud.count("stop")) == (outcome, 0)
    ended = outcome is not None
    assert (waving.wave.cut_short, len(waving.failures)) == (ended, ended)
    if ended:
        assert waving.trail.of("target.failed")[0]["reason"].endswith("; the run ended before the force-stop")


async def test_a_shutdown_not_accepted_in_time_is_stopped_only_after_a_status_shows_the_cvm_up() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda _ref, _attempt: failed(409) if cloud.requests[-1][1] == "shutdown" else None
    cloud.status_script = lambda ref, since: StatusRead("stopped") if ref.name == "web-0" and since is None else None
    waving = shutdowns(*[work_of(ref, Action.SHUTDOWN) for ref in cloud.refs], cloud=cloud)
    await waving.run()
    assert waving.fleet.outcomes() == {"settled": 2}
    assert [name for _, kind, name in cloud.requests if kind == "stop"] == ["web-1"]
