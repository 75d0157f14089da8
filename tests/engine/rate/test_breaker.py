"""What happens when the API as a whole is down, or a run takes too long."""

from collections.abc import Mapping, Sequence

import anyio
import pytest

from orchestrator.action import Action
from orchestrator.cvm import CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.outcome import Ending, Exit
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

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
