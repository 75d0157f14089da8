"""The watcher: its findings with their reasons, its polls, and a deadline without a readable status."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef, normal_uuid
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.job import Job, RequestPhase
from orchestrator.engine.rate.backoff import PollBackoff
from orchestrator.engine.rate.budget import Budget
from orchestrator.engine.read.status import Observation
from orchestrator.engine.watch.watcher import Watcher
from orchestrator.outcome import Exit, Outcome
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


class NotedBackoff(PollBackoff):
    """The usual backoff, with its calls on record."""

    def __init__(self, shortest: float, longest: float, limit: Budget) -> None:
        super().__init__(shortest, longest, limit)
        self.polls: list[tuple[int, float]] = []
        self.still_up: list[float] = []
        self.asked: list[dict[str, float]] = []

    def count_settled(self, still_up: float) -> None:
        self.still_up.append(still_up)
        super().count_settled(still_up)

    def count_poll(self, *, settled: int, seconds: float) -> None:
        self.polls.append((settled, seconds))
        super().count_poll(settled=settled, seconds=seconds)

    def wait_seconds(self, **facts: Any) -> float:  # noqa: ANN401 - the arguments of the usual backoff
        self.asked.append(facts)
        return super().wait_seconds(**facts)


class Watching:
    """A watcher over a fake cloud, with this object instead of a wave."""

    def __init__(
        self,
        cloud: FakeCloud,
        *jobs: Job,
        escalate_after: float | None = None,
        timeout: float = 60,
        settle: SettleSettings | None = None,
        rate: float = 100,
    ) -> None:
        self.fleet = Fleet(cloud, jobs=jobs, settle=settle, rate=rate)
        context, workspace = self.fleet.context, self.fleet.workspace
        self.cloud, self.jobs, self.trail = cloud, jobs, self.fleet.trail
        self.backoff = NotedBackoff(context.settle.poll_min, context.settle.poll_max, workspace.gate.budget)
        step = PlannedStep("stop", Action.STOP, timeout, escalate_after=escalate_after)
        self.watcher = Watcher(context, workspace.reader, self.backoff, step, self)
        self.unsent = self.failures = 0
        self.effects: list[Job] = []
        self.no_effects: list[Job] = []
        self.ended: list[Job] = []
        self.escalated: list[tuple[str, float, str]] = []
        self.rounds: list[tuple[float, list[str]]] = []
        read = workspace.reader.read_statuses

        async def note_and_read(refs: Sequence[CvmRef]) -> dict[str, Observation]:
            self.rounds.append((anyio.current_time(), [ref.name for ref in refs]))
            return await read(refs)

        workspace.reader.read_statuses = note_and_read  # type: ignore[method-assign]

    def escalate(self, job: Job, reason: str) -> None:
        self.escalated.append((job.ref.name, anyio.current_time(), reason))

    def on_effect(self, job: Job) -> None:
        self.effects.append(job)

    def on_no_effect(self, job: Job) -> None:
        self.no_effects.append(job)

    def on_ended(self, job: Job) -> None:
        self.ended.append(job)

    def on_failed(self) -> None:
        self.failures += 1

    async def run(self, *, accepted: bool = True, since: float | None = None, is_overdue: bool = False) -> None:
        """Watch all targets to the end."""
        for job in self.jobs:
            self.watcher.add_job(job, accepted=accepted, since=since, is_overdue=is_overdue)
        self.watcher.close()
        await self.watcher.run()

    def reasons(self) -> list[str]:
        return [record["reason"] for record in self.trail.records if "outcome" in record]


def shows(cloud: FakeCloud, *told: tuple[float, StatusRead]) -> None:
    """Show these statuses of every CVM, each from its moment on."""
    cloud.status_script = lambda _ref, _since: [read for at, read in told if at <= anyio.current_time()][-1]


def in_doubt(ref: CvmRef, action: Action = Action.STOP, **fields: Any) -> Job:  # noqa: ANN401 - any field of a job
    return work_of(ref, action, attempts=1, phase=RequestPhase.IN_DOUBT, **fields)


GOING, DOWN, RUNS, ODD = StatusRead("stopping", True), StatusRead("stopped"), StatusRead("running"), StatusRead("odd")


@pytest.mark.parametrize(
    ("action", "told", "outcome", "reason"),
    [
        (Action.STOP, [(0, GOING), (3, DOWN)], Outcome.SETTLED, None),
        (Action.STOP, [(0, GOING)], Outcome.UNSETTLED, "not down within 1m of the stop; last seen 'stopping'"),
        (Action.START, [(0, ODD)], Outcome.UNSETTLED, "not running within 1m of the start; last seen 'odd'"),
        (
            Action.STOP,
            [(0, GOING), (3, StatusRead("error", error="disk full"))],
            Outcome.FAILED,
            "its status turned to error: disk full",
        ),
        (
            Action.STOP,
            [(0, GOING), (3, StatusRead("error"))],
            Outcome.FAILED,
            "its status turned to error: no further words from the API",
        ),
        (Action.STOP, [(0, GOING), (3, RUNS)], Outcome.FAILED, "it went back to running after its stop was accepted"),
        (Action.START, [(0, DOWN)], Outcome.FAILED, "its start was accepted, and yet it is stopped"),
        (
            Action.RESTART,
            [(0, RUNS)],
            Outcome.FAILED,
            "it runs and was never seen to restart, so the effect is unknown; the request is not sent again",
        ),
    ],
    ids=["down", "not down", "not up", "error with words", "error", "back up", "still down", "no restart seen"],
)
async def test_an_accepted_target_ends_with_its_outcome_and_the_reason(
    action: Action, told: list[tuple[float, StatusRead]], outcome: Outcome, reason: str | None
) -> None:
    cloud = FakeCloud(1)
    shows(cloud, *told)
    watching = Watching(cloud, work_of(cloud.refs[0], action))
    await watching.run()
    assert (watching.jobs[0].outcome, watching.reasons()) == (outcome, [reason])
    assert (watching.ended, watching.failures) == ([watching.jobs[0]], outcome is not Outcome.SETTLED)


@pytest.mark.parametrize(
    ("action", "outcome", "failures"), [(Action.STOP, Outcome.GONE, 0), (Action.START, Outcome.FAILED, 1)]
)
async def test_a_deleted_cvm_counts_as_settled_in_its_poll(action: Action, outcome: Outcome, failures: int) -> None:
    cloud = FakeCloud(1)
    cloud.gone.add("web-0")
    watching = Watching(cloud, work_of(cloud.refs[0], action))
    await watching.run()
    assert (watching.jobs[0].outcome, watching.failures) == (outcome, failures)
    assert watching.reasons() == ["no such CVM any more: it was deleted meanwhile"]
    assert [settled for settled, _ in watching.backoff.polls][-1] == 1


async def test_the_time_of_a_target_counts_from_its_acceptance_in_an_earlier_part_of_the_run() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, GOING))
    watching = Watching(cloud, work_of(cloud.refs[0]))
    await watching.run(since=-50.0)
    assert 10 <= anyio.current_time() < 10.5


async def test_the_old_status_soon_after_the_acceptance_is_no_news_for_a_stop() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, RUNS), (8, DOWN))
    watching = Watching(cloud, work_of(cloud.refs[0], status="stopping"))
    await watching.run()
    assert watching.jobs[0].outcome is Outcome.SETTLED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("restarting", Outcome.SETTLED), ("running", Outcome.FAILED), (None, Outcome.FAILED)],
)
async def test_a_restart_is_proved_by_the_status_in_its_answer(status: str | None, outcome: Outcome) -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, RUNS))
    watching = Watching(cloud, work_of(cloud.refs[0], Action.RESTART, status=status))
    await watching.run()
    assert watching.jobs[0].outcome is outcome


async def test_a_request_in_doubt_is_decided_by_the_first_read_after_the_lag_and_has_its_time_from_then() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, ODD), (50, GOING), (100, DOWN))
    watching = Watching(cloud, in_doubt(cloud.refs[0]))
    await watching.run(accepted=False)
    assert (watching.effects, watching.no_effects) == (list(watching.jobs), [])
    assert watching.jobs[0].outcome is Outcome.SETTLED
    assert [record["observed"] for record in watching.trail.of("action.accepted")] == [True]
    times = [at for at, _ in watching.rounds]
    assert times[0] < 2
    gaps = [later - earlier for earlier, later in itertools.pairwise(times) if later < 50]
    assert max(gaps) <= 2.001, "a read after each lag, until a status decides"


async def test_an_effect_seen_down_at_once_settles_with_the_same_read() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, DOWN))
    watching = Watching(cloud, in_doubt(cloud.refs[0]))
    await watching.run(accepted=False)
    assert (watching.jobs[0].outcome, len(watching.rounds), len(watching.effects)) == (Outcome.SETTLED, 1, 1)


async def test_a_request_without_effect_is_watched_no_more_and_others_are_watched_on() -> None:
    cloud = FakeCloud(2)
    cloud.status_script = lambda ref, _since: (
        RUNS if ref.name == "web-0" else DOWN if anyio.current_time() > 9 else GOING
    )
    doubted, other = in_doubt(cloud.refs[0]), work_of(cloud.refs[1])
    watching = Watching(cloud, doubted, other)
    watching.watcher.add_job(doubted, accepted=False)
    watching.watcher.add_job(other, accepted=True)
    watching.watcher.close()
    await watching.watcher.run()
    assert (watching.no_effects, watching.effects, watching.ended) == ([doubted], [], [other])
    assert doubted.outcome is None
    assert all("web-0" not in names for at, names in watching.rounds if at > 3)


async def test_a_request_in_doubt_without_a_deciding_status_is_unsettled_after_its_time() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, ODD))
    watching = Watching(cloud, in_doubt(cloud.refs[0]))
    await watching.run(accepted=False)
    assert watching.reasons() == ["whether the stop had an effect was not known within 1m; last seen 'odd'"]
    assert watching.effects == list(watching.jobs), "never to be sent again"


@pytest.mark.parametrize(
    ("fields", "read", "has_effect"),
    [
        ({"batch": 3}, StatusRead("running", True), False),
        ({"batch": None}, StatusRead("error"), True),
        ({"escalated_at": 0.0, "before": "stopping"}, GOING, False),
        ({"before": "stopping"}, GOING, True),
        ({"before": "error"}, StatusRead("error"), False),
    ],
    ids=["left out by a batch", "error after a request", "on the way down before", "stopping", "an error as before"],
)
async def test_a_status_proves_an_effect_according_to_the_request_before(
    fields: dict[str, Any], read: StatusRead, has_effect: bool
) -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, read), (20, DOWN))
    watching = Watching(cloud, in_doubt(cloud.refs[0], **fields))
    await watching.run(accepted=False)
    assert (len(watching.effects), len(watching.no_effects)) == (has_effect, not has_effect)


async def test_a_request_in_doubt_wakes_a_watcher_that_waits_for_a_late_poll() -> None:
    cloud = FakeCloud(2)
    shows(cloud, (0, ODD))
    watching = Watching(cloud, work_of(cloud.refs[0]), in_doubt(cloud.refs[1]), timeout=2000)
    watching.watcher.add_job(watching.jobs[0], accepted=True, since=-1000.0)
    with anyio.move_on_after(640):
        async with anyio.create_task_group() as group:
            group.start_soon(watching.watcher.run)
            await anyio.sleep(600)
            added = watching.rounds[-1][0] + 14
            await anyio.sleep(added - anyio.current_time())
            watching.watcher.add_job(watching.jobs[1], accepted=False)
    polls = [at for at, _ in watching.rounds]
    before = [at for at in polls if at < added]
    assert before[-1] - before[-2] == pytest.approx(15), "so late a poll would come without the new target"
    late = [at - added for at in polls if at > added]
    assert late[0] < 0.5
    assert max(later - earlier for earlier, later in itertools.pairwise(late)) <= 2.001


async def test_the_first_target_wakes_a_watcher_without_targets() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, DOWN))
    watching = Watching(cloud, work_of(cloud.refs[0]))
    async with anyio.create_task_group() as group:
        group.start_soon(watching.watcher.run)
        await anyio.sleep(50)
        watching.watcher.add_job(watching.jobs[0], accepted=True)
        await anyio.sleep(5)
        assert watching.jobs[0].outcome is Outcome.SETTLED
        watching.watcher.close()
    assert watching.backoff.polls[0][1] < 1, "the time without targets is no time between polls"


@pytest.mark.parametrize(
    ("action", "escalate_after", "told", "escalated"),
    [
        (Action.SHUTDOWN, 30, [(0, GOING)], [30, "not down within 30s of the shutdown; last seen 'stopping'"]),
        (Action.SHUTDOWN, None, [(0, GOING)], None),
        (Action.STOP, 30, [(0, GOING)], None),
        (Action.SHUTDOWN, 30, [(0, GOING), (3, RUNS)], [6, "it went back to running after its shutdown was accepted"]),
    ],
    ids=["not down in time", "no stop planned", "the stop itself", "running again"],
)
async def test_a_shutdown_alone_escalates_and_only_if_a_stop_is_planned(
    action: Action, escalate_after: float | None, told: list[tuple[float, StatusRead]], escalated: list[Any] | None
) -> None:
    cloud = FakeCloud(1)
    shows(cloud, *told)
    watching = Watching(cloud, work_of(cloud.refs[0], action), escalate_after=escalate_after)
    await watching.run()
    if escalated is None:
        assert (watching.escalated, watching.jobs[0].outcome) == ([], Outcome.UNSETTLED)
    else:
        ((_, at, reason),) = watching.escalated
        assert [pytest.approx(at, abs=2), reason] == escalated
        assert (watching.ended, watching.jobs[0].outcome) == ([], None)


async def test_each_shutdown_escalates_at_its_own_time_after_others_have_settled() -> None:
    cloud = FakeCloud(2)
    cloud.status_script = lambda ref, _since: DOWN if ref.name == "web-0" and anyio.current_time() > 5 else GOING
    watching = Watching(cloud, *(work_of(ref, Action.SHUTDOWN) for ref in cloud.refs), escalate_after=30)
    await watching.run()
    assert [(name, round(at)) for name, at, _ in watching.escalated] == [("web-1", 30)]


@pytest.mark.parametrize(("read", "is_escalated"), [(RUNS, True), (DOWN, False)])
async def test_a_single_status_decides_about_an_overdue_shutdown(read: StatusRead, is_escalated: bool) -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, read))
    watching = Watching(cloud, work_of(cloud.refs[0], Action.SHUTDOWN), escalate_after=30)
    await watching.run(accepted=False, is_overdue=True)
    expected = ["its shutdown was not accepted within 30s; last seen 'running'"] if is_escalated else []
    assert [reason for _, _, reason in watching.escalated] == expected
    assert (len(watching.effects), watching.no_effects) == (1, [])
    assert anyio.current_time() < 3


async def test_an_overdue_shutdown_with_an_effect_has_its_time_from_then() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, GOING))
    watching = Watching(cloud, work_of(cloud.refs[0], Action.SHUTDOWN), escalate_after=30)
    await watching.run(accepted=False, is_overdue=True)
    ((_, at, reason),) = watching.escalated
    assert reason == "not down within 30s of the shutdown; last seen 'stopping'"
    assert at > 30


SMALL = SettleSettings(batch_size=10)


async def test_polls_are_samples_of_one_batch_until_a_cvm_is_down_and_then_as_many_as_the_rate_allows() -> None:
    cloud = FakeCloud(45)
    shows(cloud, (0, GOING), (3, DOWN))
    watching = Watching(cloud, *map(work_of, cloud.refs), settle=SMALL, rate=5)
    await watching.run()
    sizes = [len(names) for _, names in watching.rounds]
    first_down = next(number for number, (settled, _) in enumerate(watching.backoff.polls) if settled)
    assert sizes[: first_down + 1] == [10] * (first_down + 1)
    assert sizes[first_down + 1] == 20, "half a second of reads: two batches at this rate"
    assert watching.backoff.polls[first_down][0] == 10
    assert watching.rounds[1][0] - watching.rounds[0][0] > 0.3, "a sample without a CVM down is no reason to hurry"
    gap = watching.rounds[first_down + 1][0] - watching.rounds[first_down][0]
    assert gap < 0.5, "a sample that was down is followed by a poll at once"


async def test_half_of_a_sample_are_the_oldest_targets_and_the_other_half_take_turns() -> None:
    cloud = FakeCloud(30)
    shows(cloud, (0, GOING), (8, DOWN))
    watching = Watching(cloud, *map(work_of, cloud.refs), settle=SMALL)
    await watching.run()
    first, second = (names for _, names in watching.rounds[:2])
    oldest = [f"web-{number}" for number in range(5)]
    assert first == [f"web-{number}" for number in range(10)]
    assert second[:5] == oldest
    assert second[5:] == [f"web-{number}" for number in range(10, 15)]


async def test_polls_are_one_batch_while_requests_are_unsent() -> None:
    cloud = FakeCloud(45)
    cloud.status_script = lambda ref, _since: DOWN if ref.name == "web-0" else GOING
    watching = Watching(cloud, *map(work_of, cloud.refs), settle=SMALL)
    watching.unsent = 5
    with anyio.move_on_after(30):
        await watching.run()
    assert {len(names) for _, names in watching.rounds} == {10}
    assert len(watching.rounds) > 5


async def test_the_backoff_learns_of_every_poll_and_of_the_time_each_cvm_took() -> None:
    cloud = FakeCloud(3)
    await anyio.sleep(100)
    begun = anyio.current_time()
    cloud.status_script = lambda ref, _since: DOWN if ref.name != "web-2" or anyio.current_time() > begun + 6 else GOING
    watching = Watching(cloud, *map(work_of, cloud.refs))
    watching.unsent = 1
    await watching.run()
    assert [settled for settled, _ in watching.backoff.polls if settled] == [2, 1]
    times = [begun, *(at for at, _ in watching.rounds)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [seconds for _, seconds in watching.backoff.polls] == pytest.approx(gaps)
    assert watching.backoff.still_up[:2] == [0, 0]
    assert watching.backoff.still_up[2] == pytest.approx(times[-2] - begun)
    asked = watching.backoff.asked[0]
    assert (asked["watched"], asked["unsent"], asked["reads"]) == (3, 1, 1)
    assert (asked["oldest"], asked["youngest"]) == (0, 0)
    last = watching.backoff.asked[-1]
    assert last["watched"] == 1
    assert last["oldest"] == pytest.approx(times[-1] - begun)
    assert last["youngest"] == pytest.approx(times[-2] - begun)


async def test_a_status_read_before_it_became_unreadable_is_named() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, GOING))
    watching = Watching(cloud, work_of(cloud.refs[0]), timeout=10)
    read_error(cloud, "an error", 5, 1000)
    await watching.run()
    assert watching.reasons() == [
        "its status could not be read after the 10s for the stop, in 30 attempts; last seen 'stopping'"
    ]


async def test_a_single_cvm_down_in_a_sample_is_followed_by_a_poll_at_once() -> None:
    cloud = FakeCloud(45)
    cloud.status_script = lambda ref, _since: (
        DOWN if anyio.current_time() > (3 if ref.name == "web-0" else 9) else GOING
    )
    watching = Watching(cloud, *map(work_of, cloud.refs), settle=SMALL, rate=5)
    await watching.run()
    first_down = next(number for number, (settled, _) in enumerate(watching.backoff.polls) if settled)
    assert watching.backoff.polls[first_down][0] == 1
    assert watching.rounds[first_down + 1][0] - watching.rounds[first_down][0] < 0.5


async def test_a_slow_rate_allows_one_batch_a_poll() -> None:
    cloud = FakeCloud(45)
    shows(cloud, (0, GOING), (3, DOWN))
    watching = Watching(cloud, *map(work_of, cloud.refs), settle=SMALL, rate=2)
    await watching.run()
    assert max(len(names) for _, names in watching.rounds) == 10


async def test_a_start_in_doubt_seen_running_settles_after_the_lag() -> None:
    cloud = FakeCloud(1)
    shows(cloud, (0, RUNS))
    watching = Watching(cloud, in_doubt(cloud.refs[0], Action.START))
    await watching.run(accepted=False)
    assert (watching.jobs[0].outcome, len(watching.effects)) == (Outcome.SETTLED, 1)
    assert anyio.current_time() >= 4, "2 seconds to the proof of the effect, 2 to the proof of the result"


async def test_a_shutdown_escalates_in_time_beside_an_older_target_with_more_time() -> None:
    cloud = FakeCloud(2)
    shows(cloud, (0, GOING))
    older, shutdown = work_of(cloud.refs[0]), work_of(cloud.refs[1], Action.SHUTDOWN)
    watching = Watching(cloud, older, shutdown, escalate_after=30, timeout=2000)
    watching.watcher.add_job(older, accepted=True, since=-1000.0)
    with anyio.move_on_after(700):
        async with anyio.create_task_group() as group:
            group.start_soon(watching.watcher.run)
            await anyio.sleep(600.05)
            watching.watcher.add_job(shutdown, accepted=True)
    ((_, at, _),) = watching.escalated
    assert at == pytest.approx(630.05, abs=0.25)
