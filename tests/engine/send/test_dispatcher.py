"""The dispatcher: intents on disk before requests, the decision about each reply, and the end after a halt."""

import itertools
from typing import Any

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.job import Job
from orchestrator.engine.send.dispatcher import Dispatcher
from orchestrator.engine.send.queue import SendQueue
from orchestrator.errors import AuditError
from orchestrator.outcome import Outcome
from orchestrator.playbook.resolved_steps import PlannedStep
from orchestrator.playbook.value_types import Dispatch
from orchestrator.reply import BatchStopped, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

pytestmark = pytest.mark.anyio


class Sending:
    """A dispatcher over a fake cloud, with an observer instead of a watcher."""

    def __init__(
        self,
        cloud: FakeCloud,
        *,
        rate: float = 100,
        burst: int = 5,
        in_flight: int = 20,
        dispatch: Dispatch = "single",
        action: Action = Action.STOP,
        timeout: float = 600,
    ) -> None:
        fleet = Fleet(cloud, rate=rate, burst=burst, max_in_flight=in_flight, dispatch=dispatch, action=action)
        self.cloud, self.jobs, self.trail, self.gate = cloud, fleet.jobs, fleet.trail, fleet.gate
        self.clock, self.workspace = fleet.clock, fleet.workspace
        step, limits = PlannedStep("stop", fleet.jobs[0].action, timeout), fleet.context.limits
        self.queue = SendQueue(fleet.context, step, limits, self)
        self.dispatcher = Dispatcher(fleet.context, fleet.workspace, self.queue, in_flight, self)
        self.accepted: list[str] = []
        self.in_doubt: list[str] = []
        self.failures = 0
        for each in self.jobs:
            self.queue.add_job(each)

    def on_accepted(self, job: Job) -> None:
        self.accepted.append(job.ref.name)

    def on_in_doubt(self, job: Job) -> None:
        self.in_doubt.append(job.ref.name)
        self.queue.count_resolved()
        self.dispatcher.wake()

    def on_failed(self) -> None:
        self.failures += 1

    def on_overdue(self, job: Job) -> None:
        raise AssertionError(f"no shutdown in these tests: {job}")

    def on_all_sent(self) -> None:
        """Do nothing: these tests have no watcher."""

    def track_ahead(self) -> list[int]:
        """Note at every request how many requests on record were not sent before, this request included."""
        ahead: list[int] = []

        def note(_ref: CvmRef) -> None:
            ahead.append(len(self.trail.of("action.intent")) - self.cloud.posts.total() + 1)

        self.cloud.on_stop = note
        return ahead

    def unsent(self) -> list[str]:
        """Names of the targets with a request on record as not sent."""
        return [each["cvm"]["name"] for each in self.trail.of("action.deferred") if each.get("sent") is False]

    def names(self, event: str) -> list[str]:
        return [each["cvm"]["name"] for each in self.trail.of(event)]


async def test_every_intent_is_durable_before_its_request() -> None:
    cloud = FakeCloud(30)
    sending = Sending(cloud)
    before: list[bool] = []

    def check(ref: CvmRef) -> None:
        durable = sending.trail.records[: sending.trail.durable]
        before.append(any(each["event"] == "action.intent" and each["cvm"]["name"] == ref.name for each in durable))

    cloud.on_stop = check
    await sending.dispatcher.run()
    assert before == [True] * 30
    assert sorted(sending.accepted) == sorted(ref.name for ref in cloud.refs)


async def test_every_answer_is_durable_at_the_end() -> None:
    sending = Sending(FakeCloud(7))
    await sending.dispatcher.run()
    assert sending.trail.durable == len(sending.trail.records)
    assert len(sending.names("action.accepted")) == 7


async def test_a_slow_disk_does_not_slow_down_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    sending = Sending(FakeCloud(300), rate=50, in_flight=50)
    flush = sending.trail.flush

    async def flush_slowly() -> None:
        await anyio.sleep(0.2)
        await flush()

    monkeypatch.setattr(sending.trail, "flush", flush_slowly)
    began = anyio.current_time()
    await sending.dispatcher.run()
    last = sending.trail.of("action.accepted")[-1]["at"]
    assert last - began < 1.1 * 300 / 50, "five requests fit into a flush at first, and ten are due"


async def test_intents_are_recorded_only_a_little_ahead() -> None:
    cloud = FakeCloud(100)
    sending, most = Sending(cloud, rate=20, burst=1), 0

    def count(_ref: object) -> None:
        nonlocal most
        most = max(most, len(sending.names("action.intent")) - len(cloud.posts))

    cloud.on_stop = count
    await sending.dispatcher.run()
    assert most <= 1, "a twentieth of a second at this rate is one request"


@pytest.mark.parametrize(
    ("rate", "in_flight", "most"),
    [(100, 20, 5), (1000, 4, 8), (1000, 3, 6), (10, 20, 1)],
    ids=["a twentieth of a second", "twice as many as in flight", "the same of three", "a slow rate"],
)
async def test_as_many_intents_are_recorded_ahead_as_the_rate_and_the_limit_in_flight_allow(
    rate: float, in_flight: int, most: int
) -> None:
    sending = Sending(FakeCloud(60, latency=0.001), rate=rate, burst=1, in_flight=in_flight)
    ahead = sending.track_ahead()
    await sending.dispatcher.run()
    assert (len(ahead), max(ahead)) == (60, most)


async def test_one_batch_is_recorded_ahead_at_a_slow_rate() -> None:
    cloud, most = FakeCloud(200), 0
    sending = Sending(cloud, rate=10, burst=1, dispatch="batch")

    def count(_hashids: object) -> None:
        nonlocal most
        most = max(most, len({each["batch"] for each in sending.trail.of("action.intent")}) - cloud.count("stops") + 1)

    cloud.many_script = count
    await sending.dispatcher.run()
    assert most == 1
    assert len(sending.accepted) == 200


async def test_at_a_slow_rate_requests_go_when_due_and_are_recorded_just_before() -> None:
    sending = Sending(FakeCloud(4), rate=1, burst=1)
    await sending.dispatcher.run()
    sent = [at for at, kind, _ in sending.cloud.requests if kind == "stop"]
    assert sent == pytest.approx([0, 1, 2, 3], abs=0.005)
    recorded = [each["at"] for each in sending.trail.of("action.intent")]
    assert recorded == pytest.approx([0, 0.95, 1.95, 2.95], abs=0.005)


async def test_answers_become_durable_within_a_moment_while_other_requests_are_open() -> None:
    cloud, durable = FakeCloud(3), list[bool]()
    sending = Sending(cloud)
    act, seconds = cloud.act, {"web-0": 1, "web-1": 10, "web-2": 60}

    async def slow_act(action: Action, ref: CvmRef) -> Reply[StatusRead]:
        await anyio.sleep(seconds[ref.name])
        return await act(action, ref)

    cloud.act = slow_act  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(sending.dispatcher.run)
        for moment in (1.2, 10.2):
            await anyio.sleep(moment - anyio.current_time())
            durable.append(sending.trail.durable == len(sending.trail.records))
    assert (durable, len(sending.accepted)) == ([True, True], 3)


async def test_no_more_requests_are_in_flight_than_allowed() -> None:
    cloud = FakeCloud(40, latency=1)
    sending, most = Sending(cloud, rate=1000, burst=50, in_flight=4), 0

    def count(_ref: object) -> None:
        nonlocal most
        most = max(most, sending.gate.in_flight)

    cloud.on_stop = count
    await sending.dispatcher.run()
    assert most == 4


@pytest.mark.parametrize(
    ("reply", "event", "outcome", "failures"),
    [
        (failed(403), "action.refused", Outcome.REFUSED, 1),
        (failed(404, error_code="ERR-03-001"), "action.failed", Outcome.GONE, 0),
        (failed(422), "action.failed", Outcome.FAILED, 1),
    ],
    ids=["refused", "gone", "failed"],
)
async def test_a_final_reply_ends_the_target(
    reply: Reply[StatusRead], event: str, outcome: Outcome, failures: int
) -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: reply
    sending = Sending(cloud)
    await sending.dispatcher.run()
    assert sending.names(event) == ["web-0"]
    assert (sending.jobs[0].outcome, sending.failures) == (outcome, failures)
    assert (sending.accepted, sending.in_doubt, cloud.posts["web-0"]) == ([], [], 1)


async def test_an_accepted_request_is_recorded_with_its_reply_and_the_status_in_the_reply() -> None:
    sending = Sending(FakeCloud(1))
    await sending.dispatcher.run()
    (record,) = sending.trail.of("action.accepted")
    assert (record["observed"], record["http_status"], record["request_id"]) == (False, 200, "req-web-0")
    assert record["status"] == sending.jobs[0].status == "stopping"


@pytest.mark.parametrize("status", [403, 422])
async def test_a_final_reply_is_recorded_with_its_reason_and_so_is_the_outcome(status: int) -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(status, "too bad", request_id="req-7")
    sending = Sending(cloud)
    await sending.dispatcher.run()
    (reply,) = sending.trail.of("action.refused") + sending.trail.of("action.failed")
    (end,) = sending.trail.of("target.failed")
    for record in (reply, end):
        assert (record["reason"], record["http_status"], record["request_id"]) == ("too bad", status, "req-7")


@pytest.mark.parametrize(("action", "outcome"), [(Action.STOP, Outcome.GONE), (Action.START, Outcome.FAILED)])
async def test_a_deleted_cvm_is_gone_for_a_stop_and_a_failure_for_a_start(action: Action, outcome: Outcome) -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(404, error_code="ERR-03-001")
    sending = Sending(cloud, action=action)
    await sending.dispatcher.run()
    assert sending.jobs[0].outcome is outcome


async def test_a_refused_key_is_recorded_and_leaves_the_target_open() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(401, "bad key")
    sending = Sending(cloud)
    cloud.on_stop = lambda _ref: sending.dispatcher.halt(at_once=True)
    await sending.dispatcher.run()
    (record,) = sending.trail.of("action.failed")
    assert (record["cvm"]["name"], record["reason"], record["http_status"]) == ("web-0", "bad key", 401)
    assert (sending.jobs[0].outcome, sending.failures) == (None, 0)


async def test_a_reply_of_unknown_effect_leaves_the_decision_to_the_status() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(502, "bad gateway")
    sending = Sending(cloud)
    await sending.dispatcher.run()
    assert sending.names("action.unknown") == sending.in_doubt == ["web-0"]
    assert sending.jobs[0].trouble == "bad gateway"
    (record,) = sending.trail.of("action.unknown")
    assert (record["reason"], record["http_status"]) == ("bad gateway", 502)
    assert cloud.posts["web-0"] == 1, "never sent again without a status"


async def test_a_deferred_request_is_sent_again_after_its_wait() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, attempt: failed(409, "in progress") if attempt == 1 else None
    sending = Sending(cloud)
    await sending.dispatcher.run()
    first, second = (at for at, kind, _ in cloud.requests if kind == "stop")
    assert 0.75 <= second - first <= 1.5
    assert sending.accepted == ["web-0"]


async def test_a_deferred_request_is_recorded_with_its_reason_and_its_wait_in_milliseconds() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, attempt: failed(409, "in progress") if attempt == 1 else None
    await anyio.sleep(100)
    sending = Sending(cloud)
    await sending.dispatcher.run()
    (record,) = sending.trail.of("action.deferred")
    assert (record["reason"], record["http_status"], record["verify"]) == ("in progress", 409, False)
    first, second = (at for at, kind, _ in cloud.requests if kind == "stop")
    assert record["retry_after_s"] == round(record["retry_after_s"], 3) == pytest.approx(second - first, abs=0.0006)


async def test_a_target_deferred_for_too_long_is_given_up_with_the_last_reason() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(409, "in progress")
    sending = Sending(cloud, timeout=5)
    await sending.dispatcher.run()
    (end,) = sending.trail.of("target.failed")
    assert (end["reason"].rpartition(": ")[2], end["http_status"]) == ("in progress", 409)


async def test_a_429_pauses_the_gate_for_every_request() -> None:
    cloud = FakeCloud(20)
    cloud.stop_script = lambda ref, n: failed(429, retry_after=10.0) if (ref.name, n) == ("web-0", 1) else None
    sending = Sending(cloud, rate=10, burst=1)
    await sending.dispatcher.run()
    times = [at for at, kind, _ in cloud.requests if kind == "stop"]
    assert times[1] - times[0] >= 10
    assert times[2] - times[1] < 1
    assert len(sending.accepted) == 20


async def test_a_deferred_request_to_verify_is_not_sent_again_before_its_status_is_read() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: failed(503, "busy", retry_after=1.0)
    sending = Sending(cloud)
    await sending.dispatcher.run()
    assert sending.names("action.deferred") == sending.in_doubt == ["web-0"]
    assert cloud.posts["web-0"] == 1
    assert (sending.trail.of("action.deferred")[0]["verify"], sending.jobs[0].trouble) == (True, "busy")


NOT_PERMITTED = failed(None, "no lease", sent=False, permitted=False)


async def test_a_target_without_a_permit_is_never_given_up_and_sent_in_another_turn() -> None:
    cloud = FakeCloud(3)
    cloud.stop_script = lambda _ref, attempt: NOT_PERMITTED if attempt < 40 else None
    sending = Sending(cloud)
    await sending.dispatcher.run()
    assert anyio.current_time() > 600, "longer than the patience of the step"
    assert sorted(sending.accepted) == ["web-0", "web-1", "web-2"]
    assert (sending.failures, sending.in_doubt) == (0, [])
    unsent = sending.trail.of("action.deferred")
    assert {(each["sent"], each["reason"]) for each in unsent} == {(False, "no lease")}
    assert len(unsent) == len(sending.names("action.intent")) - 3
    assert not sending.workspace.breaker.outage, "the API never saw the requests"


async def test_a_batch_without_a_permit_stays_a_batch_and_leaves_every_target_unsent() -> None:
    cloud, batches = FakeCloud(3), 0

    def refuse_first(_hashids: object) -> Reply[Any] | None:
        nonlocal batches
        batches += 1
        return failed(None, "no lease", sent=False, permitted=False) if batches == 1 else None

    cloud.many_script = refuse_first
    sending = Sending(cloud, dispatch="batch")
    await sending.dispatcher.run()
    assert (batches, cloud.count("stop"), len(sending.accepted)) == (2, 0, 3)
    assert [each["sent"] for each in sending.trail.of("action.deferred")] == [False] * 3


async def test_a_halt_without_a_permit_leaves_the_target_without_an_outcome() -> None:
    cloud = FakeCloud(1)
    cloud.stop_script = lambda _ref, _attempt: NOT_PERMITTED
    sending = Sending(cloud)
    cloud.on_stop = lambda _ref: sending.dispatcher.halt()
    await sending.dispatcher.run()
    job = sending.jobs[0]
    assert (job.outcome, job.is_in_doubt, job.first_sent, job.announced_at) == (None, False, None, None)


async def test_a_refused_batch_sends_every_target_alone() -> None:
    cloud = FakeCloud(3)
    cloud.many_script = lambda _hashids: Reply(http_status=405, problem="no batches")
    sending = Sending(cloud, dispatch="batch")
    await sending.dispatcher.run()
    assert cloud.count("stops") == 1
    assert dict(cloud.posts) == {"web-0": 1, "web-1": 1, "web-2": 1}
    assert all(each.needs_own_request for each in sending.jobs)


async def test_an_accepted_batch_accepts_each_of_its_targets_without_a_status() -> None:
    sending = Sending(FakeCloud(5), dispatch="batch")
    await sending.dispatcher.run()
    assert sorted(sending.accepted) == sorted(each.ref.name for each in sending.jobs)
    records = sending.trail.of("action.accepted")
    assert [each["request_id"] for each in records] == ["req-batch-1"] * 5
    assert ["status" in each for each in records] == [False] * 5


@pytest.mark.parametrize(
    ("statuses", "at_once"), [((405, None, 405), 50), ((405, 405), 1), ((429, 429, 429), 50)], ids=str
)
async def test_no_batches_go_after_two_refusals_in_a_row_and_a_pause_is_no_refusal(
    statuses: tuple[int | None, ...], at_once: int
) -> None:
    cloud, replies = FakeCloud(200), list(statuses)

    def reply(_hashids: object) -> Reply[BatchStopped] | None:
        status = replies.pop(0) if replies else None
        return None if status is None else Reply(http_status=status, problem="no")

    cloud.many_script = reply
    sending = Sending(cloud, dispatch="batch")
    await sending.dispatcher.run()
    assert (sending.queue.at_once, len(sending.accepted)) == (at_once, 200)


async def test_the_waits_of_a_paused_batch_grow_with_its_attempts() -> None:
    cloud, times = FakeCloud(2), list[float]()

    def reply(_hashids: object) -> Reply[BatchStopped] | None:
        times.append(anyio.current_time())
        return Reply(http_status=429, problem="no") if len(times) < 4 else None

    cloud.many_script = reply
    await Sending(cloud, dispatch="batch").dispatcher.run()
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [0.75 * seconds <= wait <= 1.25 * seconds for wait, seconds in zip(waits, (1, 2, 4), strict=True)] == [
        True
    ] * 3


async def test_a_dispatcher_halted_before_its_start_announces_and_sends_nothing() -> None:
    for at_once in (True, False):
        sending = Sending(FakeCloud(3))
        sending.dispatcher.halt(at_once=at_once)
        await sending.dispatcher.run()
        assert (sending.trail.records, dict(sending.cloud.posts)) == ([], {})


@pytest.mark.parametrize(("pause", "is_sent"), [(0.08, True), (0.12, False)])
async def test_after_a_halt_a_request_on_record_goes_only_within_a_tenth_of_a_second(
    pause: float, is_sent: bool
) -> None:
    cloud = FakeCloud(20)
    sending = Sending(cloud, rate=1000, burst=1)

    def halt(_ref: object) -> None:
        if cloud.posts.total() == 3:
            sending.gate.pause(pause)
            sending.dispatcher.halt()

    cloud.on_stop = halt
    await sending.dispatcher.run()
    announced = len(sending.names("action.intent"))
    assert announced > 3
    assert (cloud.posts.total(), len(sending.unsent())) == ((announced, 0) if is_sent else (3, announced - 3))


async def test_a_request_on_record_is_not_sent_after_a_slow_flush_has_outlasted_the_end_of_sending() -> None:
    sending = Sending(FakeCloud(3))
    flush = sending.trail.flush

    async def slow_flush() -> None:
        sending.dispatcher.halt()
        await anyio.sleep(0.2)
        await flush()

    sending.trail.flush = slow_flush  # type: ignore[method-assign]
    await sending.dispatcher.run()
    assert (dict(sending.cloud.posts), sorted(sending.unsent())) == ({}, ["web-0", "web-1", "web-2"])
    (reason,) = {each["reason"] for each in sending.trail.of("action.deferred")}
    assert reason == "the run stopped before this request was sent"


async def test_a_halt_sends_the_requests_on_record_and_due_but_announces_no_more() -> None:
    cloud = FakeCloud(50)
    sending = Sending(cloud, rate=100, burst=1)

    def halt(_ref: object) -> None:
        if cloud.posts.total() == 10:
            sending.dispatcher.halt()

    cloud.on_stop = halt
    await sending.dispatcher.run()
    assert 10 <= cloud.posts.total() <= 20
    announced = len(sending.names("action.intent"))
    unsent = [each for each in sending.trail.of("action.deferred") if each.get("sent") is False]
    assert announced == cloud.posts.total() + len(unsent), "each intent has an answer on record"
    assert unsent == [], "the requests on record are due within the time for sending"


async def test_a_halt_at_once_records_the_announced_requests_as_not_sent() -> None:
    cloud = FakeCloud(50)
    sending = Sending(cloud, rate=100, burst=1)

    def halt(_ref: object) -> None:
        if cloud.posts.total() == 10:
            sending.dispatcher.halt(at_once=True)

    cloud.on_stop = halt
    await sending.dispatcher.run()
    assert cloud.posts.total() == 10
    unsent = [each for each in sending.trail.of("action.deferred") if each.get("sent") is False]
    assert len(unsent) == len(sending.names("action.intent")) - 10


async def test_a_cancelled_request_is_recorded_as_unanswered() -> None:
    sending = Sending(FakeCloud(2, latency=60))
    with anyio.move_on_after(1):
        await sending.dispatcher.run()
    assert sorted(sending.names("action.unknown")) == ["web-0", "web-1"]
    assert sending.gate.in_flight == 0


async def test_nothing_is_sent_without_a_log() -> None:
    cloud = FakeCloud(3)
    sending = Sending(cloud)
    sending.trail.broken = True
    with pytest.RaisesGroup(AuditError, allow_unwrapped=True, flatten_subgroups=True):
        await sending.dispatcher.run()
    assert not cloud.posts
