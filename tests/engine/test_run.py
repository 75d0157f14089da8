"""A run, on virtual time: an hour of polling takes no time, and every second is accounted for."""

from dataclasses import replace
from random import Random

import anyio
import pytest

from orchestrator.engine.context import SettleSettings
from orchestrator.engine.job import RequestPhase
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.value_types import Dispatch
from orchestrator.reply import Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

pytestmark = pytest.mark.anyio


async def test_every_cvm_is_stopped_once_and_settles() -> None:
    fleet = Fleet(FakeCloud(50))
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    assert fleet.outcomes() == {"settled": 50}
    assert set(fleet.cloud.posts.values()) == {1}
    assert fleet.trail.records[-1]["event"] == "run.finished"


async def test_a_thousand_at_fifty_a_second_take_the_time_and_the_requests_that_they_must() -> None:
    fleet = Fleet(FakeCloud(1000, seconds=5), rate=50)
    await fleet.go()
    times = [at for at, _, _ in fleet.cloud.requests]
    last_stop = max(at for at, kind, _ in fleet.cloud.requests if kind == "stop")
    assert len(times) <= 1020  # ten list pages come on top
    assert anyio.current_time() <= 1.02 * (len(times) / 50 + 5)
    assert last_stop <= 21
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 55


MORE_SPANS = [(20, 40, 3), (60, 60, 0)]


@pytest.mark.parametrize(
    ("quickest", "slowest", "lag"),
    [(2, 6, 0), (5, 60, 1.5), (0.2, 1, 0), *(pytest.param(*each, marks=pytest.mark.soak) for each in MORE_SPANS)],
)
async def test_however_long_cvms_take_the_reads_stay_few_and_the_end_is_seen_at_once(
    quickest: float, slowest: float, lag: float
) -> None:
    cloud, rng, seconds = FakeCloud(1000, lag=lag, latency=0.01), Random(1), dict[str, float]()
    cloud.seconds = lambda ref: seconds.setdefault(ref.name, rng.uniform(quickest, slowest))
    fleet = Fleet(cloud, rate=50, burst=3)
    await fleet.go()
    requests = len(cloud.requests) + 10  # the pages of the list
    assert requests <= 1054
    assert anyio.current_time() <= 1.02 * (requests / 50 + slowest + lag)


@pytest.mark.parametrize(("quickest", "slowest"), [(2, 6), pytest.param(20, 40, marks=pytest.mark.soak), (60, 60)])
async def test_a_server_that_takes_a_hundred_statuses_at_a_time_is_asked_for_those_that_may_be_down(
    quickest: float, slowest: float
) -> None:
    cloud, rng, seconds = FakeCloud(1000, latency=0.01), Random(1), dict[str, float]()
    cloud.seconds = lambda ref: seconds.setdefault(ref.name, rng.uniform(quickest, slowest))
    cloud.batch = lambda uuids: Reply(http_status=422) if len(uuids) > 100 else None
    fleet = Fleet(cloud, rate=50, burst=3)
    await fleet.go()
    requests = len(cloud.requests) + 10  # the pages of the list
    assert requests <= 1110
    assert anyio.current_time() <= 1.02 * (requests / 50 + slowest)


async def test_reads_that_lag_by_seconds_change_nothing() -> None:
    fleet = Fleet(FakeCloud(200, seconds=5, lag=4), rate=50)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 200}
    assert set(fleet.cloud.posts.values()) == {1}


async def test_an_hour_of_settling_is_watched_with_few_reads() -> None:
    fleet = Fleet(FakeCloud(20, seconds=3600), timeout=7200)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 20}
    assert 3600 < anyio.current_time() < 3600 + 20
    assert fleet.cloud.count("batch") < 300


async def test_the_intent_is_durable_before_its_request_leaves() -> None:
    cloud = FakeCloud(30)
    fleet = Fleet(cloud)

    def check(ref: object) -> None:
        name = getattr(ref, "name", "")
        assert fleet.trail.of("action.intent", name)
        assert fleet.trail.durable >= 1 + fleet.trail.records.index(fleet.trail.of("action.intent", name)[0])

    cloud.on_stop = check
    await fleet.go()
    assert len(fleet.trail.of("action.intent")) == 30


async def test_every_intent_is_answered_by_exactly_one_record() -> None:
    cloud = FakeCloud(40)
    replies = {1: failed(429, retry_after=1), 2: failed(500), 3: failed(409)}
    cloud.stop_script = lambda ref, attempt: replies.get(attempt) if int(ref.name[4:]) % 2 else None
    fleet = Fleet(cloud)
    await fleet.go()
    answers = ("accepted", "refused", "deferred", "unknown", "failed")
    for job in fleet.jobs:
        intents = [r["attempt"] for r in fleet.trail.of("action.intent", job.ref.name)]
        answered = [r["attempt"] for kind in answers for r in fleet.trail.of(f"action.{kind}", job.ref.name)]
        assert sorted(answered) == intents == list(range(1, len(intents) + 1))
    assert fleet.outcomes() == {"settled": 40}


async def test_no_record_no_stop() -> None:
    fleet = Fleet(FakeCloud(5))
    fleet.trail.broken = True
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.LOG_FAILED, Exit.ENDED_EARLY)
    assert fleet.cloud.requests == []


async def test_a_log_that_breaks_half_way_ends_the_run_and_nothing_more_is_sent() -> None:
    cloud = FakeCloud(100, latency=0.1)
    fleet = Fleet(cloud, rate=10, burst=1)

    async def break_it() -> None:
        await anyio.sleep(2)
        fleet.trail.broken = True

    async with anyio.create_task_group() as group:
        group.start_soon(break_it)
        result = await fleet.go()
    assert result.exit_code is Exit.ENDED_EARLY
    assert 15 <= sum(cloud.posts.values()) <= 23


async def test_an_unknown_outcome_that_had_its_effect_is_never_sent_again() -> None:
    cloud = FakeCloud(20, lag=1.5)

    def script(ref: object, attempt: int) -> object:
        cloud.take_effect(ref)  # type: ignore[arg-type]
        return failed(502) if attempt == 1 else None

    cloud.stop_script = script  # type: ignore[assignment]
    fleet = Fleet(cloud)
    await fleet.go()
    assert set(cloud.posts.values()) == {1}
    assert fleet.outcomes() == {"settled": 20}
    assert [record["observed"] for record in fleet.trail.of("action.accepted")] == [True] * 20


async def test_an_unknown_outcome_without_effect_is_sent_again_after_a_late_enough_read() -> None:
    cloud = FakeCloud(5)
    cloud.stop_script = lambda _ref, attempt: failed(None, "reset") if attempt == 1 else None
    fleet = Fleet(cloud, settle=SettleSettings(recheck_after=7))
    await fleet.go()
    assert set(cloud.posts.values()) == {2}
    stops = [at for at, kind, _ in cloud.requests if kind == "stop"]
    assert stops[5] >= stops[0] + 7
    assert fleet.outcomes() == {"settled": 5}


async def test_a_stop_that_never_goes_through_is_given_up_in_the_end() -> None:
    cloud = FakeCloud(2)
    cloud.stop_script = lambda ref, _attempt: failed(500) if ref.name == "web-0" else None
    fleet = Fleet(cloud, timeout=60)
    result = await fleet.go()
    assert (fleet.outcome("web-0"), fleet.outcome("web-1")) == ("failed", "settled")
    assert result.exit_code is Exit.FAILED


async def test_refused_failed_and_gone_are_told_apart_and_none_stops_the_others() -> None:
    cloud = FakeCloud(6)
    gone = failed(404, error_code="ERR-03-001")
    replies = {"web-0": failed(403), "web-1": failed(422), "web-2": gone, "web-3": failed(409, error_code="E")}
    cloud.stop_script = lambda ref, _attempt: replies.get(ref.name)
    fleet = Fleet(cloud)
    result = await fleet.go()
    assert [fleet.outcome(f"web-{n}") for n in range(6)] == [
        "refused",
        "failed",
        "gone",
        "failed",
        "settled",
        "settled",
    ]
    assert result.exit_code is Exit.FAILED


async def test_going_back_up_turning_to_error_and_vanishing_are_reported_as_just_that() -> None:
    cloud = FakeCloud(4)

    def status(ref: object, since: float | None) -> StatusRead | None:
        name = getattr(ref, "name", "")
        if since is None or name == "web-3":
            return None
        if since < 2:
            return StatusRead("stopping", True)
        if name == "web-2":
            cloud.gone.add(name)
            return StatusRead("stopping", True)
        return StatusRead("running") if name == "web-0" else StatusRead("error", error="no route to host")

    cloud.status_script = status
    fleet = Fleet(cloud)
    result = await fleet.go()
    assert [fleet.outcome(f"web-{n}") for n in range(4)] == ["failed", "failed", "gone", "settled"]
    reasons = {r["cvm"]["name"]: r["reason"] for r in fleet.trail.of("target.failed")}
    assert "back to running" in reasons["web-0"]
    assert "no route to host" in reasons["web-1"]
    assert result.exit_code is Exit.FAILED


async def test_who_is_not_down_in_time_is_unsettled_at_its_own_deadline() -> None:
    cloud = FakeCloud(3)
    cloud.seconds = lambda ref: 10_000 if ref.name == "web-1" else 3
    fleet = Fleet(cloud, timeout=300)
    result = await fleet.go()
    assert fleet.outcomes() == {"settled": 2, "unsettled": 1}
    assert result.exit_code is Exit.UNSETTLED
    ended = fleet.trail.of("target.failed")[0]["at"]
    assert 300 <= ended <= 301


async def test_an_unknown_status_is_never_taken_for_settled() -> None:
    cloud = FakeCloud(1)
    cloud.status_script = lambda _ref, since: StatusRead("hibernating") if since else None
    fleet = Fleet(cloud, timeout=60)
    await fleet.go()
    assert fleet.outcomes() == {"unsettled": 1}


async def test_a_cvm_that_comes_back_after_it_settled_is_resurrected_by_the_last_sweep() -> None:
    cloud = FakeCloud(10, seconds=2)
    cloud.seconds = lambda ref: 30 if ref.name == "web-9" else 2
    cloud.status_script = lambda ref, since: (
        StatusRead("running") if ref.name == "web-4" and since is not None and since > 10 else None
    )
    fleet = Fleet(cloud)
    result = await fleet.go()
    assert fleet.outcome("web-4") == "resurrected"
    assert fleet.outcomes() == {"settled": 9, "resurrected": 1}
    assert result.exit_code is Exit.FAILED


@pytest.mark.parametrize(("most", "outcome", "code"), [("0", "not_sent", 8), ("3", "not_sent", 8), ("50%", None, 6)])
async def test_more_failures_than_allowed_end_the_run_early(most: str, outcome: str | None, code: int) -> None:
    cloud = FakeCloud(40)
    cloud.stop_script = lambda ref, _attempt: failed(403) if int(ref.name[4:]) < 10 else None
    fleet = Fleet(cloud, rate=10, burst=1, max_failures=most)
    result = await fleet.go()
    assert result.exit_code == code
    assert (outcome in fleet.outcomes()) is (outcome is not None)
    assert sum(fleet.outcomes().values()) == 40
    codes = [each.get("code") for each in fleet.trail.of("target.failed") if each["outcome"] == "not_sent"]
    assert set(codes) == ({"max_failures"} if outcome else set())
    assert "settled" not in fleet.outcomes() or fleet.outcomes()["settled"] == sum(map(bool, cloud.effects.values()))


async def test_an_interrupted_run_sends_nothing_more_and_watches_what_was_sent() -> None:
    cloud = FakeCloud(100, seconds=20)
    fleet = Fleet(cloud, rate=10, burst=1)

    async def interrupt() -> None:
        await anyio.sleep(3)
        fleet.run.interrupt(Ending.SIGINT)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        result = await fleet.go()
    sent = sum(cloud.posts.values())
    assert result.exit_code is Exit.SIGINT
    assert 28 <= sent <= 32
    assert fleet.outcomes() == {"settled": sent}
    assert max(at for at, kind, _ in cloud.requests if kind == "stop") <= 3.1  # what was on record and due at once
    unsent = [record for record in fleet.trail.of("action.deferred") if record["sent"] is False]
    assert len(fleet.trail.of("action.intent")) == sent + len(unsent)
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
    assert not fleet.trail.of("target.failed")


async def test_an_interruption_during_a_long_pause_does_not_wait_for_its_end() -> None:
    cloud = FakeCloud(30)
    cloud.stop_script = lambda _ref, attempt: failed(429, retry_after=250) if attempt == 1 else None
    fleet = Fleet(cloud, rate=10, burst=1)

    async def interrupt() -> None:
        await anyio.sleep(5)
        fleet.run.interrupt(Ending.SIGTERM)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        result = await fleet.go()
    assert result.exit_code is Exit.SIGTERM
    assert anyio.current_time() < 6
    unsent = [r for r in fleet.trail.of("action.deferred") if r.get("sent") is False]
    assert len(fleet.trail.of("action.intent")) - len(unsent) == sum(cloud.posts.values())


@pytest.mark.parametrize("dispatch", ["single", "batch"])
async def test_a_slow_disk_lets_no_stop_go_long_after_an_interruption(dispatch: Dispatch) -> None:
    fleet = Fleet(FakeCloud(500), burst=20, per_teepod=500, dispatch=dispatch)
    flush = fleet.trail.flush

    async def slow() -> None:
        await anyio.sleep(3)
        await flush()

    fleet.trail.flush = slow  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(3.5)
        fleet.run.interrupt(Ending.SIGINT)
    stops = [at for at, kind, _ in fleet.cloud.requests if kind in {"stop", "stops"}]
    assert stops
    assert max(stops) <= 3.5 + 0.11


async def test_being_cancelled_leaves_a_whole_trail_that_says_what_is_open() -> None:
    cloud = FakeCloud(10, latency=1000)
    fleet = Fleet(cloud)
    with anyio.move_on_after(5):
        await fleet.go()
    assert len(fleet.trail.of("action.unknown")) == 10
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
    assert fleet.trail.durable == len(fleet.trail.records)


async def test_a_refused_key_ends_the_run_at_once() -> None:
    cloud = FakeCloud(50, seconds=100)
    cloud.stop_script = lambda ref, _attempt: failed(401) if int(ref.name[4:]) >= 20 else None
    fleet = Fleet(cloud, rate=10, burst=1)
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.KEY_REFUSED, Exit.ENDED_EARLY)
    assert sum(cloud.posts.values()) <= 22
    assert anyio.current_time() < 5


async def test_a_retry_after_pauses_the_whole_run() -> None:
    cloud = FakeCloud(60)
    cloud.stop_script = lambda ref, attempt: (
        failed(429, retry_after=30) if (ref.name, attempt) == ("web-9", 1) else None
    )
    fleet = Fleet(cloud, rate=10, burst=1)
    await fleet.go()
    hit = next(at for at, kind, name in cloud.requests if kind == "stop" and name == "web-9")
    assert not [at for at, _, _ in cloud.requests if hit < at < hit + 30]
    assert fleet.outcomes() == {"settled": 60}


@pytest.mark.parametrize("status", [409, 429, 503])
async def test_a_retry_after_of_nothing_is_waited_out_with_the_backoff(status: int) -> None:
    cloud = FakeCloud(12)
    cloud.stop_script = lambda _ref, _attempt: failed(status, retry_after=0) if anyio.current_time() < 30 else None
    fleet = Fleet(cloud, rate=10)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 12}
    assert sum(at < 30 for at, kind, _ in cloud.requests if kind == "stop") <= 12 * 6  # after 1, 2, 4, 8, 16 seconds


async def test_no_teepod_ever_has_more_stops_under_way_than_its_share() -> None:
    cloud = FakeCloud(60, latency=1)
    fleet = Fleet(cloud, rate=1000, burst=100, max_in_flight=50, per_teepod=2)
    await fleet.go()
    for teepod in range(3):
        times = [at for at, kind, name in cloud.requests if kind == "stop" and int(name[4:]) % 3 == teepod]
        assert max(sum(at <= other < at + 1 for other in times) for at in times) <= 2
    assert fleet.outcomes() == {"settled": 60}


async def test_a_bug_is_not_hidden() -> None:
    cloud = FakeCloud(5)

    def bug(_ref: object) -> None:
        raise ZeroDivisionError

    cloud.on_stop = bug
    with pytest.raises(ExceptionGroup) as caught:
        await Fleet(cloud).go()
    assert caught.group_contains(ZeroDivisionError, depth=None)


async def test_fresh_readings_spare_what_is_down_already() -> None:
    cloud = FakeCloud(4)
    cloud.take_effect(cloud.refs[0])
    cloud.gone.add("web-1")
    await anyio.sleep(10)
    fleet = Fleet(cloud)
    fleet.run.reader.workspace_size = 0
    fresh = await fleet.run.reader.read_statuses(cloud.refs)
    fresh |= await fleet.run.reader.read_statuses([cloud.refs[1]])
    fleet.run.apply_statuses(fresh)
    await fleet.go()
    assert [fleet.outcome(f"web-{n}") for n in range(4)] == ["skipped", "gone", "settled", "settled"]
    assert set(cloud.posts) == {"web-2", "web-3"}


async def test_a_run_taken_up_again_goes_on_from_what_is_known() -> None:
    cloud = FakeCloud(4, seconds=30)
    first = Fleet(cloud)
    for job in first.jobs[:3]:
        cloud.take_effect(job.ref)
    done, accepted, in_doubt, waiting = first.jobs
    jobs = [
        replace(done, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=anyio.current_time()),
        replace(accepted, attempts=1, phase=RequestPhase.ACCEPTED, accepted_at=anyio.current_time()),
        replace(in_doubt, attempts=1, phase=RequestPhase.IN_DOUBT),
        waiting,
    ]
    fleet = Fleet(cloud, jobs=jobs)
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    assert cloud.posts == {"web-3": 1}
    assert fleet.outcomes() == {"settled": 4}
