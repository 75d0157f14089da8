"""Many stops in one request: the promises are those of single stops, and the requests are few."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from orchestrator.action import Action
from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.job import Job
from orchestrator.outcome import Ending, Exit, Outcome
from orchestrator.playbook.plan import StepLoad, Target, estimate_plan
from orchestrator.playbook.resolved_steps import RunLimits
from orchestrator.reply import BatchStopped, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed, work_of

pytestmark = pytest.mark.anyio


def batched(cloud: FakeCloud, *, jobs: Sequence[Job] | None = None, max_failures: str | None = None) -> Fleet:
    return Fleet(cloud, dispatch="batch", per_teepod=500, jobs=jobs, max_failures=max_failures)


def batches(fleet: Fleet) -> list[int]:
    return [int(size) for _, kind, size in fleet.cloud.requests if kind == "stops"]


async def test_a_thousand_stops_take_twenty_requests_and_each_cvm_is_accepted_and_billed_once() -> None:
    fleet = batched(FakeCloud(1000))
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    assert batches(fleet) == [50] * 20
    assert fleet.cloud.count("stop") == 0
    accepted = fleet.trail.of("action.accepted")
    assert Counter(r["cvm"]["name"] for r in accepted) == {ref.name: 1 for ref in fleet.cloud.refs}
    assert all(r["billing"]["triggered"] and not r["observed"] for r in accepted)
    assert fleet.trail.records[-1]["requests"] == 20
    assert len(fleet.cloud.requests) <= 90  # ten list pages come on top


async def test_the_intents_of_all_of_a_batch_are_durable_before_it_leaves_and_share_its_number() -> None:
    fleet = batched(FakeCloud(120))
    seen: list[tuple[int, set[int]]] = []

    def look(hashids: Sequence[str]) -> None:
        durable = fleet.trail.records[: fleet.trail.durable]
        intents = [r for r in durable if r["event"] == "action.intent" and r["cvm"]["id"] in hashids]
        seen.append((len(intents), {r["batch"] for r in intents}))

    fleet.cloud.many_script = look
    await fleet.go()
    assert sorted(number for number, _ in seen) == [20, 50, 50]
    assert sorted(number for _, shared in seen for number in shared) == [1, 2, 3]


async def test_whoever_a_batch_skipped_is_found_by_status_and_stopped_one_by_one() -> None:
    cloud = FakeCloud(100)
    cloud.skips = {"web-7", "web-60"}
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 100}
    assert sorted(name for _, kind, name in cloud.requests if kind == "stop") == ["web-60", "web-7"]
    for name in ("web-7", "web-60"):
        assert [r.get("batch") is not None for r in fleet.trail.of("action.intent", name)] == [True, False]
        assert len(fleet.trail.of("action.unknown", name)) == 1
    (taken,) = fleet.trail.of("action.accepted", "web-8")
    assert taken["observed"], "the batch does not say whom it took, so the status had to"
    assert {len(times) for times in cloud.effects.values()} == {1}


async def test_a_batch_that_took_nobody_leaves_nothing_to_find_out() -> None:
    cloud = FakeCloud(10)
    cloud.skips = {ref.name for ref in cloud.refs}
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 10}
    assert not fleet.trail.of("action.unknown")
    assert cloud.count("stop") == 10


async def test_whoever_a_batch_names_with_an_error_is_finished_by_itself_with_the_api_s_words_on_record() -> None:
    cloud = FakeCloud(20)
    cloud.gone = {"web-3"}
    cloud.stop_script = lambda ref, _attempt: failed(404, error_code="ERR-03-001") if ref.name in cloud.gone else None
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 19, "gone": 1}
    (deferred,) = fleet.trail.of("action.deferred", "web-3")
    assert (deferred["reason"], deferred["verify"]) == ("CVM not found", True)


@pytest.mark.parametrize(
    ("status", "count"), [(404, 1000), (400, 120), (403, 120), (405, 120), (413, 120), (422, 120), (501, 120)]
)
async def test_where_the_api_takes_no_batches_all_are_stopped_one_by_one_at_once(status: int, count: int) -> None:
    cloud = FakeCloud(count)
    cloud.many_script = lambda _hashids: Reply(http_status=status, problem="no")
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": count}
    assert set(cloud.posts.values()) == {1}
    assert len(batches(fleet)) <= 12, "those on record already, and then no more"
    assert not fleet.trail.of("action.unknown")


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("answer", [Reply(http_status=502), Reply(problem="reset"), Reply(http_status=200)])
async def test_a_batch_of_unknown_outcome_is_settled_by_status_before_anything_is_sent_again(
    *, acted: bool, answer: Reply[BatchStopped]
) -> None:
    cloud = FakeCloud(30)

    def lost(hashids: Sequence[str]) -> Reply[BatchStopped] | None:
        if cloud.count("stops") > 1:
            return None
        for ref in cloud.refs:
            if acted and ref.id in hashids:
                cloud.take_effect(ref)
        return answer

    cloud.many_script = lost
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 30}
    assert batches(fleet) == ([30] if acted else [30, 30])
    assert {len(times) for times in cloud.effects.values()} == {1}


async def test_a_throttled_batch_pauses_the_run_and_is_sent_again_as_a_batch() -> None:
    cloud = FakeCloud(30)
    cloud.many_script = lambda _hashids: Reply(http_status=429, retry_after=7) if cloud.count("stops") == 1 else None
    fleet = batched(cloud)
    await fleet.go()
    times = [at for at, kind, _ in cloud.requests if kind == "stops"]
    assert len(times) == 2
    assert times[1] - times[0] >= 7
    assert not cloud.count("stop")


async def test_a_refused_key_ends_a_batched_run() -> None:
    cloud = FakeCloud(30)
    cloud.many_script = lambda _hashids: Reply(http_status=401)
    result = await batched(cloud).go()
    assert (result.ending, cloud.count("stops"), cloud.count("stop")) == (Ending.KEY_REFUSED, 1, 0)


async def test_no_batch_holds_more_of_one_teepod_than_its_share() -> None:
    cloud = FakeCloud(90, latency=0.5)
    fleet = Fleet(cloud, dispatch="batch", per_teepod=4)
    shares: list[int] = []
    teepods = {ref.id: ref.teepod for ref in cloud.refs}
    cloud.many_script = lambda hashids: shares.append(max(Counter(teepods[each] for each in hashids).values()))
    await fleet.go()
    assert fleet.outcomes() == {"settled": 90}
    assert max(shares) == 4


async def test_whoever_a_batch_would_skip_is_never_put_into_one() -> None:
    cloud = FakeCloud(60)
    cloud.refs[5], cloud.refs[6] = replace(cloud.refs[5], id=None), replace(cloud.refs[6], vm_uuid=None)
    fleet = batched(cloud)
    sent: list[str] = []
    cloud.many_script = sent.extend
    await fleet.go()
    assert fleet.outcomes() == {"settled": 60}
    assert {"web-5", "web-6"} <= {name for _, kind, name in cloud.requests if kind == "stop"}
    assert not {None, "", "cvm_5", "cvm_6"} & set(sent)
    assert max(batches(fleet)) == 50, "the others go first, so that none of their batches is cut short"


@pytest.mark.parametrize("held", [True, False])
def test_a_cvm_that_an_operation_holds_or_a_rental_manages_is_stopped_singly(*, held: bool) -> None:
    cvm = Cvm(ref=CvmRef("cvm_1", "0" * 32, "x"), status="running", in_progress=held, gpu_rental=not held)
    target = Target("stop", Action.STOP, cvm, work_of(cvm.ref).note)
    assert Job.from_target(target).needs_own_request


async def test_one_that_is_left_over_has_the_documented_stop_rather_than_a_batch_of_one() -> None:
    fleet = batched(FakeCloud(51))
    await fleet.go()
    assert (batches(fleet), fleet.cloud.count("stop")) == ([50], 1)


async def test_a_refusal_found_after_a_batch_counts_towards_the_failures() -> None:
    cloud = FakeCloud(200)
    cloud.skips = {"web-1"}
    cloud.stop_script = lambda _ref, _attempt: failed(403)
    fleet = batched(cloud, max_failures="0")
    result = await fleet.go()
    assert fleet.outcome("web-1") == "refused"
    assert result.exit_code is Exit.FAILED


@pytest.mark.parametrize(("status", "code"), [(403, None), (404, "ERR-03-001"), (409, "ERR-03-010"), (400, None)])
async def test_a_batch_that_is_refused_half_way_gets_nobody_stopped_twice(status: int, code: str | None) -> None:
    cloud = FakeCloud(50)

    def half(_hashids: Sequence[str]) -> Reply[BatchStopped] | None:
        if cloud.count("stops") > 1:
            return None
        for ref in cloud.refs[:25]:
            cloud.take_effect(ref)
        return Reply(http_status=status, error_code=code, problem="one of them can not be stopped")

    cloud.many_script = half
    fleet = batched(cloud)
    await fleet.go()
    assert {len(times) for times in cloud.effects.values()} == {1}
    assert fleet.outcomes() == {"settled": 50}


async def test_a_batch_that_is_put_off_and_then_skips_all_is_looked_at_before_anything_is_sent_again() -> None:
    cloud = FakeCloud(50, seconds=20)

    def busy(hashids: Sequence[str]) -> Reply[BatchStopped]:
        if cloud.count("stops") > 1:
            return Reply(value=BatchStopped(0, len(hashids), {}), http_status=200)
        for ref in cloud.refs:
            cloud.take_effect(ref)
        return Reply(http_status=409, problem="an operation is in progress")

    cloud.many_script = busy
    await batched(cloud).go()
    assert {len(times) for times in cloud.effects.values()} == {1}


@pytest.mark.parametrize("in_progress", [True, False])
async def test_one_that_was_skipped_because_it_restarts_is_stopped_by_itself_and_not_booked_before(
    *, in_progress: bool
) -> None:
    cloud = FakeCloud(50)
    cloud.skips = {"web-7"}
    cloud.status_script = lambda ref, _since: (
        StatusRead("restarting", in_progress) if ref.name == "web-7" and not cloud.effects["web-7"] else None
    )
    fleet = batched(cloud)
    await fleet.go()
    assert fleet.outcome("web-7") == "settled"
    assert cloud.posts["web-7"] == 1
    (accepted,) = fleet.trail.of("action.accepted", "web-7")
    assert not accepted["observed"]


async def test_a_refused_key_leaves_no_further_batch_to_go() -> None:
    cloud = FakeCloud(5000, latency=0.05)
    refused: list[float] = []

    def key(_hashids: Sequence[str]) -> Reply[BatchStopped] | None:
        if cloud.count("stops") < 20:
            return None
        refused.append(anyio.current_time())
        return Reply(http_status=401)

    cloud.many_script = key
    await Fleet(cloud, rate=400, burst=20, per_teepod=5000, dispatch="batch").go()
    assert not [at for at, kind, _ in cloud.requests if kind == "stops" and at > refused[0]]


async def test_no_more_than_one_batch_follows_an_interruption() -> None:
    cloud = FakeCloud(5000, latency=0.05)
    fleet = Fleet(cloud, rate=400, burst=20, per_teepod=5000, dispatch="batch")
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(0.1003)
        fleet.run.interrupt(Ending.SIGINT)
    assert len([at for at, kind, _ in cloud.requests if kind == "stops" and at > 0.1003]) <= 1


def test_the_estimate_counts_batches() -> None:
    limits = RunLimits(10, 1, 10, 10, dispatch="batch")
    assert estimate_plan([StepLoad(1000, limits)], 1, 1000).requests == 23


answers = st.sampled_from([200, 200, 207, 400, 404, 408, 409, 429, 500, 502, 503, None])


@given(
    script=st.lists(st.tuples(answers, st.sets(st.integers(0, 9)), st.integers(-1, 1), st.booleans()), max_size=5),
    errors=st.sets(st.integers(0, 9)),
    lag=st.floats(0, 1.9),
)
def test_whatever_batches_answer_nobody_is_stopped_twice_and_nobody_is_lost(
    script: list[tuple[int | None, set[int], int, bool]], errors: set[int], lag: float
) -> None:
    """Each answer: a status, whom the batch acted on, by how much it miscounts them, whether errors are named."""

    async def story() -> None:
        cloud = FakeCloud(10, lag=lag)
        cloud.many_script = _answering(cloud, script, errors)
        fleet = Fleet(cloud, dispatch="batch", timeout=300, settle=SettleSettings(cloud_down=60, whole_run=5000))
        result = await fleet.go()
        assert max((len(times) for times in cloud.effects.values()), default=0) <= 1
        if not result.ending.resumable:
            assert {job.outcome for job in fleet.jobs} == {Outcome.SETTLED}
            assert len(cloud.effects) == 10
        answered = [
            r
            for r in fleet.trail.records
            if r["event"].startswith("action.") and r["event"] != "action.intent" and not r.get("observed")
        ]
        assert len(answered) == len(fleet.trail.of("action.intent"))

    anyio.run(story, backend="trio", backend_options={"clock": MockClock(autojump_threshold=0)})


def _answering(
    cloud: FakeCloud, script: list[tuple[int | None, set[int], int, bool]], errors: set[int]
) -> Callable[[Sequence[str]], Reply[BatchStopped] | None]:
    def answer(hashids: Sequence[str]) -> Reply[BatchStopped] | None:
        number = cloud.count("stops") - 1
        if number >= len(script):
            return None
        status, acted, off, named = script[number]
        could_act = status in {None, 200, 207, 408, 500, 502, 503}
        taken = [ref for ref in cloud.refs if ref.id in hashids and int(ref.name[4:]) in acted and could_act]
        for ref in taken:
            cloud.take_effect(ref)
        if status not in {200, 207}:
            return Reply(http_status=status, problem="as told")
        left = [each for each in hashids if each not in {ref.id for ref in taken}]
        said = {each: "could not" for each in left if named and int(each[4:]) in errors}
        # A count that is off is off in a way that shows: it does not add up to the CVMs that were sent.
        value = BatchStopped(len(taken) + off, len(left) - len(said), said)
        return Reply(value=value, http_status=status)

    return answer
