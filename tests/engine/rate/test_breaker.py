"""What happens when the API as a whole is down, or a run takes too long."""

from collections.abc import Mapping, Sequence

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.rate.breaker import Breaker, is_fault
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.outcome import Ending, Exit
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, VirtualClock, failed

pytestmark = pytest.mark.anyio


class Outage:
    """An API that is down from `start` to `end`, in seconds."""

    def __init__(self, cloud: FakeCloud, start: float, end: float) -> None:
        self.cloud, self.start, self.end, self.hits = cloud, start, end, list[float]()
        self.plain_page, self.plain_state = cloud.list_page, cloud.read_state
        cloud.stop_script = lambda _ref, _attempt: failed(502) if self.down() else None
        cloud.batch = self.batch
        cloud.list_page = self.page  # type: ignore[method-assign]
        cloud.read_state = self.read_state  # type: ignore[method-assign]

    def down(self) -> bool:
        now = anyio.current_time()
        if self.start <= now < self.end:
            self.hits.append(now)
            return True
        return False

    def batch(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]] | None:
        del uuids
        return Reply(http_status=502, problem="bad gateway") if self.down() else None

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        return failed(502) if self.down() else await self.plain_state(ref)

    async def page(self, page: int, page_size: int) -> Reply[Page]:
        return Reply(http_status=502, problem="bad gateway") if self.down() else await self.plain_page(page, page_size)


async def test_an_outage_is_waited_out_with_a_probe_now_and_then_and_nothing_is_lost() -> None:
    cloud = FakeCloud(200)
    outage = Outage(cloud, 2, 200)
    fleet = Fleet(cloud, rate=20)
    result = await fleet.go()
    assert result.exit_code is Exit.OK
    assert fleet.outcomes() == {"settled": 200}
    assert all(len(effects) == 1 for effects in cloud.effects.values())
    assert len([at for at in outage.hits if at > 10]) < 12
    assert anyio.current_time() < 260


async def test_an_outage_that_lasts_too_long_ends_the_run_which_can_be_resumed() -> None:
    cloud = FakeCloud(200)
    Outage(cloud, 2, float("inf"))
    fleet = Fleet(cloud, rate=20, settle=SettleSettings(cloud_down=300))
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.CLOUD_DOWN, Exit.ENDED_EARLY)
    assert 300 <= anyio.current_time() < 345
    assert fleet.trail.records[-1]["event"] == "run.interrupted"


async def test_faults_of_single_requests_do_not_open_the_breaker() -> None:
    cloud = FakeCloud(100)
    cloud.stop_script = lambda ref, attempt: failed(500) if attempt == 1 and int(ref.name[4:]) % 10 else None
    fleet = Fleet(cloud, rate=20)
    await fleet.go()
    assert cloud.count("list") == 0
    assert fleet.outcomes() == {"settled": 100}


async def test_a_host_that_cannot_be_connected_to_is_an_outage_and_leaves_nobody_in_doubt() -> None:
    cloud = FakeCloud(50)
    outage = Outage(cloud, 1, 60)
    cloud.stop_script = lambda _ref, _attempt: failed(None, "no connection", sent=False) if outage.down() else None
    fleet = Fleet(cloud, rate=20)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 50}
    assert not fleet.trail.of("action.unknown")


async def test_a_run_that_takes_too_long_is_ended_and_can_be_resumed() -> None:
    cloud = FakeCloud(100, seconds=10_000)
    fleet = Fleet(cloud, rate=20, timeout=100_000, settle=SettleSettings(whole_run=500))
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.TIMED_OUT, Exit.ENDED_EARLY)
    assert 500 <= anyio.current_time() < 520


@pytest.mark.parametrize(("at", "ended"), [(100, 101), (3, 40)], ids=["while it is down", "before it is known"])
async def test_an_interrupted_run_does_not_watch_an_api_that_is_down(at: float, ended: float) -> None:
    cloud = FakeCloud(200, seconds=30)
    Outage(cloud, 2, float("inf"))
    fleet = Fleet(cloud, rate=20)

    async def interrupt() -> None:
        await anyio.sleep(at)
        fleet.run.interrupt(Ending.SIGTERM)

    async with anyio.create_task_group() as group:
        group.start_soon(interrupt)
        result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.SIGTERM, Exit.SIGTERM)
    assert fleet.trail.records[-1]["event"] == "run.interrupted"
    assert anyio.current_time() < ended


async def test_an_outage_during_the_last_sweep_ends_the_run_which_can_be_resumed() -> None:
    cloud = FakeCloud(40)
    fleet = Fleet(cloud, rate=20, settle=SettleSettings(cloud_down=300))
    outage = Outage(cloud, float("inf"), float("inf"))

    def batch(uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]] | None:
        if fleet.outcomes() == {"settled": 40}:
            outage.start = min(outage.start, anyio.current_time())
        return outage.batch(uuids)

    cloud.batch = batch
    result = await fleet.go()
    assert (result.ending, result.exit_code) == (Ending.CLOUD_DOWN, Exit.ENDED_EARLY)
    assert anyio.current_time() < 400


async def test_an_outage_is_told_when_it_begins_and_when_it_ends() -> None:
    cloud, told = FakeCloud(200), list[object]()
    Outage(cloud, 2, 100)
    fleet = Fleet(cloud, rate=20, settle=SettleSettings(cloud_down=600), on_outage=told.append)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(50)
        outage = fleet.run.outage
        assert outage is not None
        assert (outage.reason, outage.next_probe > 50) == ("bad gateway", True)
        assert 600 < outage.gives_up_at < 610
    begun, over = told
    assert (getattr(begun, "reason", None), over) == ("no", None)
    assert fleet.run.outage is None


@pytest.mark.parametrize("first", ["outage", "interruption"])
async def test_an_interruption_of_a_run_that_cannot_read_statuses_ends_within_seconds(first: str) -> None:
    cloud = FakeCloud(200, seconds=100)
    outage = Outage(cloud, 2, float("inf"))
    if first == "interruption":
        outage.start = 5
    fleet = Fleet(cloud, rate=20)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(20 if first == "outage" else 4)
        fleet.run.interrupt(Ending.SIGINT)
    # Ten faults in a row make an outage; with nothing left to send they are reads, a second or so apart.
    assert anyio.current_time() <= (23 if first == "outage" else 30)
    assert (fleet.trail.records[-1]["event"], fleet.trail.records[-1]["reason"]) == ("run.interrupted", "sigint")


async def test_an_interruption_does_not_wait_for_answers_that_do_not_come_during_an_outage() -> None:
    cloud = FakeCloud(60, seconds=100)
    outage = Outage(cloud, 2, float("inf"))

    async def act(action: Action, ref: CvmRef) -> Reply[StatusRead]:
        if outage.down() and int(ref.name[4:]) % 2:
            await anyio.sleep(1000)
        return await FakeCloud.act(cloud, action, ref)

    cloud.act = act  # type: ignore[method-assign]
    fleet = Fleet(cloud, rate=20)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(30)
        assert fleet.run.outage is not None
        fleet.run.interrupt(Ending.SIGTERM)
    assert anyio.current_time() <= 33
    unanswered = [record for record in fleet.trail.of("action.unknown") if "before the answer" in record["reason"]]
    assert unanswered, "resume decides those by their status"


async def test_an_interruption_during_a_long_wait_does_not_wait_for_what_was_sent() -> None:
    cloud = FakeCloud(30, seconds=60)
    cloud.stop_script = lambda ref, _attempt: failed(429, retry_after=250) if ref.name == "web-9" else None
    fleet = Fleet(cloud, rate=10, burst=1)
    async with anyio.create_task_group() as group:
        group.start_soon(fleet.go)
        await anyio.sleep(10)
        assert sum(cloud.posts.values()) > 5
        fleet.run.interrupt(Ending.SIGINT)
    assert anyio.current_time() <= 13
    assert fleet.trail.records[-1]["event"] == "run.interrupted"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(), True),
        (Reply(http_status=499), False),
        (Reply(http_status=500), True),
        (Reply(http_status=503, retry_after=0), True),
        (Reply(http_status=503, retry_after=1), False),
        (Reply(http_status=404), False),
        (Reply(http_status=404, is_json=False), True),
        (Reply(http_status=403, is_json=False), False),
        (Reply(http_status=200, value=1), False),
        (Reply(http_status=500, value=1), False),
    ],
)
def test_a_fault_is_no_answer_a_server_error_without_a_wait_or_a_page_of_a_gateway(
    reply: Reply[object], expected: object
) -> None:
    assert is_fault(reply) is expected


class ProbeLog:
    """An observer with an API down until `end`, in seconds."""

    def __init__(self, end: float) -> None:
        self.end, self.probes, self.changes, self.gave_up = end, list[float](), list[bool](), False

    async def send_probe(self) -> Reply[object]:
        self.probes.append(round(anyio.current_time() - self.begun))
        return Reply(http_status=502) if self.probes[-1] < self.end else Reply(http_status=200, value=1)

    def on_outage_change(self, outage: object) -> None:
        self.changes.append(outage is not None)

    def on_give_up(self) -> None:
        self.gave_up = True

    def build_breaker(self, give_up_after: float = 1000) -> Breaker:
        self.begun, clock = anyio.current_time(), VirtualClock()
        return Breaker(Gate(Gcra(100, 10), 10, clock), clock, self, give_up_after=give_up_after)


def reply_with_faults(breaker: Breaker, count: int) -> None:
    for _ in range(count):
        breaker.on_reply(Reply(http_status=502))


async def test_ten_faults_in_a_row_open_the_breaker_and_any_other_answer_starts_the_count_again() -> None:
    observer = ProbeLog(0)
    breaker = observer.build_breaker()
    for _ in range(2):
        reply_with_faults(breaker, 9)
        assert breaker.outage is None
        breaker.on_reply(Reply(http_status=400))
    reply_with_faults(breaker, 10)
    assert breaker.outage is not None
    assert breaker.outage.reason == "no answer"
    assert breaker.outage.next_probe - (breaker.opened_at or 0) == 2
    assert observer.changes == [True]


async def test_the_wait_between_probes_doubles_up_to_thirty_seconds() -> None:
    observer = ProbeLog(100)
    breaker = observer.build_breaker()
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.run)
        reply_with_faults(breaker, 10)
        await anyio.sleep(200)
        assert (observer.probes, observer.changes) == ([2, 6, 14, 30, 60, 90, 120], [True, False])
        reply_with_faults(breaker, 9)
        assert breaker.outage is None
        group.cancel_scope.cancel()
    assert not observer.gave_up


async def test_a_breaker_gives_up_at_the_end_of_the_time_without_a_further_probe() -> None:
    await anyio.sleep(100)
    observer = ProbeLog(1000)
    breaker = observer.build_breaker(give_up_after=14)
    reply_with_faults(breaker, 10)
    await breaker.run()
    assert (observer.probes, observer.gave_up) == ([2, 6, 14], True)
    assert anyio.current_time() - observer.begun == pytest.approx(14)
