"""A gateway that answers in the API's place: its 404 is no deletion, and its odd statuses are no failures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio
import pytest

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.outcome import Exit
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

pytestmark = pytest.mark.anyio

HTML = failed(404, "HTTP 404: <html>", is_json=False)
BARE = failed(404, "HTTP 404: Not Found")


class Gatewayed(FakeCloud):
    """A cloud behind a gateway that does not reach it until some moment; then its reads of single CVMs may be bare."""

    def __init__(self, count: int, until: float = 0.0, *, everywhere: bool = False) -> None:
        super().__init__(count)
        self.until, self.bare = until, False
        self.stop_script = lambda _ref, _attempt: HTML if self.away else None
        self.everywhere = everywhere
        self.batch = self._batch
        self.twice = False

    @property
    def away(self) -> bool:
        return anyio.current_time() < self.until

    def _batch(self, uuids: Sequence[str]) -> Reply[Mapping[str, StatusRead]] | None:
        del uuids
        return Reply(http_status=404, problem="HTML", is_json=False) if self.everywhere and self.away else None

    async def read_state(self, ref: CvmRef) -> Reply[StatusRead]:
        reply = await super().read_state(ref)
        if self.everywhere and self.away:
            return HTML
        return BARE if self.bare else reply

    async def list_page(self, page: int, page_size: int) -> Reply[Page]:
        reply = await super().list_page(page, page_size)
        if self.everywhere and self.away:
            return Reply(http_status=404, problem="HTML", is_json=False)
        if reply.value is not None and self.twice:
            return replace(reply, value=replace(reply.value, cvms=(*reply.value.cvms, *reply.value.cvms[-1:])))
        return reply


@pytest.mark.parametrize("everywhere", [False, True])
async def test_stops_that_a_gateway_answers_with_404_are_sent_again_and_none_counts_as_gone(everywhere: bool) -> None:
    cloud = Gatewayed(10, until=2.0, everywhere=everywhere)
    fleet = Fleet(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 10})
    assert all(len(effects) == 1 for effects in cloud.effects.values())
    assert not fleet.run.reader.batch_missing, "a gateway's 404 says nothing of the batch operation"


async def test_stops_that_a_gateway_answers_with_404_for_ever_fail_and_none_counts_as_gone() -> None:
    fleet = Fleet(Gatewayed(3, until=1e9), timeout=60)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.FAILED, {"failed": 3})


async def test_a_gateway_that_answers_everything_with_404_is_an_outage() -> None:
    fleet = Fleet(Gatewayed(20, until=1e9, everywhere=True), settle=SettleSettings(cloud_down=60))
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.ENDED_EARLY, {})
    assert fleet.trail.records[-1]["reason"] == "cloud_down"


@pytest.mark.parametrize("twice", [False, True], ids=["a list that adds up", "a list with doubles, read alike twice"])
async def test_a_cvm_with_a_bare_404_is_gone_once_a_complete_list_lacks_it(twice: bool) -> None:
    cloud = Gatewayed(5)
    cloud.bare, cloud.twice = True, twice

    def vanish(ref: CvmRef) -> None:
        if ref.name == "web-1":
            cloud.gone.add("web-1")

    cloud.on_stop = vanish
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 4, "gone": 1}
    assert cloud.count("list") > 0


async def test_a_bare_404_of_a_cvm_that_is_on_the_list_gives_the_lists_status() -> None:
    cloud = Gatewayed(3)
    cloud.bare = True
    reader = Fleet(cloud).run.reader
    reader.batch_missing = True
    seen = await reader.read_statuses(cloud.refs)
    assert [seen[ref.key].read for ref in cloud.refs] == [StatusRead("running")] * 3


@pytest.mark.parametrize(
    "story", ["a page fails", "it does not add up", "it lacks one each time", "no identifier in common"]
)
async def test_a_list_that_may_lack_a_cvm_proves_no_deletion(story: str) -> None:
    cloud = FakeCloud(3)
    ref, *others = cloud.refs
    if story == "no identifier in common":
        ref, others = replace(ref, vm_uuid=None), [replace(other, id=None) for other in others]

    async def state(_ref: CvmRef) -> Reply[StatusRead]:
        return BARE

    async def page(page: int, page_size: int) -> Reply[Page]:
        del page_size
        totals = {"it does not add up": 2 + page, "it lacks one each time": 3, "a page fails": 102}
        total = totals.get(story, 2)
        cvms = tuple(Cvm(ref=each, status="running") for each in others)
        failure: Reply[Page] = Reply(http_status=404, problem="not here")
        return failure if page > 1 else Reply(http_status=200, value=Page(cvms, total, 2 if total > 100 else 1))

    cloud.read_state, cloud.list_page = state, page  # type: ignore[assignment,method-assign]
    reader = Fleet(cloud).run.reader
    reader.batch_missing = True
    assert await reader.read_statuses([ref]) == {}
    assert await reader.read_statuses([ref]) == {}, "two reads that agree prove nothing of a list that lacks a CVM"


@pytest.mark.parametrize("status", [101, 300, 399, 425, 499, 999])
@pytest.mark.parametrize("acted", [False, True])
async def test_an_odd_status_is_unknown_and_the_cvms_own_status_decides(status: int, acted: bool) -> None:
    cloud = FakeCloud(4)

    def script(ref: CvmRef, attempt: int) -> Reply[StatusRead] | None:
        if attempt == 1 and acted:
            cloud.take_effect(ref)
        return failed(status) if attempt == 1 else None

    cloud.stop_script = script
    fleet = Fleet(cloud)
    result = await fleet.go()
    assert (result.exit_code, fleet.outcomes()) == (Exit.OK, {"settled": 4})
    assert all(len(effects) == 1 for effects in cloud.effects.values())
    assert set(cloud.posts.values()) == {1 if acted else 2}
