"""Reading the inventory."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from random import Random

import anyio
import pytest

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.rate.gate import Gate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.engine.read.inventory import InventoryReader
from orchestrator.errors import CloudError
from orchestrator.reply import Page, Reply
from tests.engine.fakes import FakeCloud, VirtualClock

pytestmark = pytest.mark.anyio


def reader(cloud: FakeCloud, rate: float = 1000) -> InventoryReader:
    return InventoryReader(cloud, Gate(Gcra(rate, 5), 10, VirtualClock()), Random(1))


async def test_every_page_is_read_once_when_the_list_holds_still() -> None:
    cloud = FakeCloud(1234)
    inventory = await reader(cloud).read_all()
    assert [cvm.ref for cvm in inventory.cvms] == cloud.refs
    assert cloud.count("list") == 13
    assert inventory.stable
    assert inventory.whole


async def test_pages_are_fetched_concurrently_within_the_rate() -> None:
    cloud = FakeCloud(2100, latency=1)
    await reader(cloud, rate=10).read_all()
    assert anyio.current_time() < 5


async def test_a_list_that_shifts_while_it_is_read_is_read_again_until_nothing_is_missing() -> None:
    cloud = FakeCloud(300)
    plain, reads = cloud.list_page, 0

    async def shifting(page: int, page_size: int) -> Reply[Page]:
        nonlocal reads
        reads += 1
        if reads == 2:
            cloud.gone.add("web-0")  # everything after it moves up by one
        return await plain(page, page_size)

    cloud.list_page = shifting  # type: ignore[method-assign]
    inventory = await reader(cloud).read_all()
    assert {cvm.ref.name for cvm in inventory.cvms} == {ref.name for ref in cloud.refs} - {"web-0"}
    assert inventory.stable


async def test_doubles_in_the_list_are_taken_once() -> None:
    cloud = FakeCloud(3)
    cvms = tuple(Cvm(ref=ref, status="running") for ref in [*cloud.refs, cloud.refs[0]])

    async def doubled(page: int, page_size: int) -> Reply[Page]:
        del page, page_size
        return Reply(value=Page(cvms, 4, 1), http_status=200)

    cloud.list_page = doubled  # type: ignore[method-assign]
    inventory = await reader(cloud).read_all()
    assert len(inventory.cvms) == 3
    assert inventory.stable


async def test_a_list_that_never_rests_gives_all_that_was_met_and_says_so() -> None:
    cloud, number = FakeCloud(0), 0

    async def restless(page: int, page_size: int) -> Reply[Page]:
        nonlocal number
        del page, page_size
        number += 1
        cvm = Cvm(ref=CvmRef(f"cvm_{number}", None, f"new-{number}"), status="running")
        return Reply(value=Page((cvm,), 2, 1), http_status=200)

    cloud.list_page = restless  # type: ignore[method-assign]
    inventory = await reader(cloud).read_all()
    assert len(inventory.cvms) == 5
    assert not inventory.stable


async def test_a_retry_after_of_nothing_does_not_use_the_attempts_up_at_once() -> None:
    cloud = FakeCloud(3)
    plain = cloud.list_page

    async def list_page(page: int, page_size: int) -> Reply[Page]:
        if anyio.current_time() < 10:
            return Reply(http_status=429, retry_after=0)
        return await plain(page, page_size)

    cloud.list_page = list_page  # type: ignore[method-assign]
    assert len((await reader(cloud).read_all()).cvms) == 3


async def test_passing_faults_are_retried_and_a_retry_after_is_kept() -> None:
    cloud = FakeCloud(10)
    plain = cloud.list_page
    replies: list[Reply[Page]] = [Reply(http_status=429, retry_after=20), Reply(http_status=502)]

    async def faulty(page: int, page_size: int) -> Reply[Page]:
        return replies.pop(0) if replies else await plain(page, page_size)

    cloud.list_page = faulty  # type: ignore[method-assign]
    assert len((await reader(cloud).read_all()).cvms) == 10
    assert anyio.current_time() >= 20


@pytest.mark.parametrize(
    ("reply", "words", "most"),
    [
        (Reply(http_status=401, problem="HTTP 401: no"), "refuses the key", 1),
        (Reply(sent=False, problem="no connection"), "can't be reached", 2),
        (Reply(http_status=500, problem="HTTP 500"), "can't be read", 5),
        (Reply(http_status=200, problem="not JSON"), "can't be read", 5),
    ],
)
async def test_an_inventory_that_cannot_be_had_is_an_error_with_its_reason(
    reply: Reply[Page], words: str, most: int
) -> None:
    cloud, asked = FakeCloud(1), 0

    async def broken(page: int, page_size: int) -> Reply[Page]:
        nonlocal asked
        del page, page_size
        asked += 1
        return reply

    cloud.list_page = broken  # type: ignore[method-assign]
    with pytest.raises(CloudError, match=words):
        await reader(cloud).read_all()
    assert asked == most


@pytest.mark.parametrize("code", [None, "ERR-03-001"])
async def test_an_app_that_is_not_there_has_no_cvms(code: str | None) -> None:
    cloud = FakeCloud(3)

    async def missing(app_id: str) -> Reply[tuple[Cvm, ...]]:
        return Reply(http_status=404, problem=f"no app {app_id}", error_code=code)

    cloud.list_app = missing  # type: ignore[method-assign]
    inventory = await reader(cloud).read_apps(["a", "b"])
    assert inventory.cvms == ()
    assert not inventory.whole
    assert (cloud.count("list") > 0) is (code is None), "where the API itself does not say so, the list does"


async def test_a_404_of_a_gateway_hides_no_cvm_of_an_app() -> None:
    cloud = FakeCloud(3)

    async def page(_app_id: str) -> Reply[tuple[Cvm, ...]]:
        return Reply(http_status=404, problem="not here", is_json=False)

    cloud.list_app = page  # type: ignore[assignment,method-assign]
    assert len((await reader(cloud).read_apps(["a" * 40, "b" * 40])).cvms) == 3


async def test_facts_that_the_list_does_not_give_are_read_from_the_detail() -> None:
    cloud = FakeCloud(3)
    whole = [Cvm(ref=ref, status="running") for ref in cloud.refs]
    bare = [replace(cvm, ref=replace(cvm.ref, app_id=None, teepod_id=None, teepod=None)) for cvm in whole]
    cloud.details["web-0"] = Reply(value=replace(whole[0], status="stopped"), http_status=200)
    cvms = await reader(cloud).complete_facts(bare, bare[:2])
    assert cvms == (whole[0], *bare[1:])
    assert sorted(name for _, kind, name in cloud.requests if kind == "detail") == ["web-0", "web-1"]


async def test_of_what_the_list_does_give_the_detail_changes_nothing() -> None:
    cloud = FakeCloud(1)
    (ref,) = cloud.refs
    known = Cvm(ref=replace(ref, app_id=None), status="running")
    other = replace(ref, name="other", app_id="b" * 40, teepod_id=9, teepod="other")
    cloud.details[ref.name] = Reply(value=Cvm(ref=other, status="running"), http_status=200)
    (found,) = await reader(cloud).complete_facts([known], [known])
    assert found.ref == replace(ref, app_id="b" * 40)


async def test_a_cvm_of_an_app_s_list_belongs_to_that_app() -> None:
    cloud = FakeCloud(1)

    async def bare(app_id: str) -> Reply[tuple[Cvm, ...]]:
        del app_id
        return Reply(value=(Cvm(ref=replace(cloud.refs[0], app_id=None), status="running"),), http_status=200)

    cloud.list_app = bare  # type: ignore[method-assign]
    (found,) = (await reader(cloud).read_apps(["c" * 40])).cvms
    assert found.ref.app_id == "c" * 40


class _LegacyDetails:
    """Answers with the hashid only to a request by hashid, as in the legacy shape."""

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        hashid = cvm_id if cvm_id.startswith("cvm_") else None
        return Reply(value=(Cvm(ref=CvmRef(hashid, "1" * 32, "web-1"), status="running"),), http_status=200)


@pytest.mark.parametrize("ids", [["cvm_1", "1" * 32], ["1" * 32, "cvm_1"]])
async def test_a_cvm_read_by_hashid_and_by_uuid_counts_once(ids: list[str]) -> None:
    legacy = InventoryReader(_LegacyDetails(), Gate(Gcra(1000, 10), 10, VirtualClock()), Random(1))  # type: ignore[arg-type] # the request in use
    inventory = await legacy.read_ids(ids)
    assert [each.ref.key for each in inventory.cvms] == ["cvm_1"]


class _Details:
    """Answers to requests by identifier from a table; an unknown identifier gets a 404 of the API."""

    def __init__(self, **replies: Reply[tuple[Cvm, ...]]) -> None:
        self._replies, self.asked = replies, list[str]()

    async def read_by_id(self, cvm_id: str) -> Reply[tuple[Cvm, ...]]:
        self.asked.append(cvm_id)
        missing = Reply[tuple[Cvm, ...]](http_status=404, problem="no such CVM", error_code="ERR-03-001")
        return self._replies.get(cvm_id, missing)

    def reader(self) -> InventoryReader:
        return InventoryReader(self, Gate(Gcra(1000, 10), 1, VirtualClock()), Random(1))  # type: ignore[arg-type] # the request in use


def found(*ids: str) -> Reply[tuple[Cvm, ...]]:
    return Reply(value=tuple(Cvm(ref=CvmRef(each, None, each), status="running") for each in ids), http_status=200)


async def test_single_cvms_are_read_once_each_without_missing_and_mistaken_identifiers() -> None:
    ambiguous: Reply[tuple[Cvm, ...]] = Reply(http_status=400, problem="several", error_code="ERR-03-010")
    invalid: Reply[tuple[Cvm, ...]] = Reply(http_status=422, problem="no identifier")
    details = _Details(cvm_1=found("cvm_1"), cvm_2=found("cvm_2"), app=found(), twice=ambiguous, odd=invalid)
    inventory = await details.reader().read_ids(["cvm_2", "app", "gone", "twice", "odd", "cvm_1", "cvm_2"])
    assert [cvm.ref.id for cvm in inventory.cvms] == ["cvm_2", "cvm_1"]
    assert (inventory.whole, inventory.stable, inventory.detailed) == (False, True, True)
    assert inventory.mistaken == {"app", "twice"}
    assert details.asked == ["cvm_2", "app", "gone", "twice", "odd", "cvm_1"]


async def test_an_unreadable_cvm_is_an_error_with_its_identifier_and_ends_the_reads() -> None:
    details = _Details(cvm_1=Reply(http_status=401, problem="no"), cvm_2=Reply(http_status=400, problem="HTTP 400"))
    with pytest.raises(CloudError, match="the CVM cvm_2 can't be read: HTTP 400"):
        await details.reader().read_ids(["cvm_2", "cvm_1"])
    assert details.asked == ["cvm_2"]


async def test_an_unreadable_app_is_an_error() -> None:
    cloud, asked = FakeCloud(1), list[str]()

    async def refuse(app_id: str) -> Reply[tuple[Cvm, ...]]:
        asked.append(app_id)
        return Reply(http_status=400, problem="HTTP 400")

    cloud.list_app = refuse  # type: ignore[method-assign]
    with pytest.raises(CloudError, match="the list of CVMs can't be read: HTTP 400"):
        await reader(cloud).read_apps(["b", "a"])
    assert asked == ["a"]


async def test_the_cvms_of_several_apps_come_without_duplicates() -> None:
    cloud, replies = FakeCloud(0), {"a": found("cvm_1", "cvm_2"), "b": found("cvm_3", "cvm_2")}

    async def list_app(app_id: str) -> Reply[tuple[Cvm, ...]]:
        return replies[app_id]

    cloud.list_app = list_app  # type: ignore[method-assign]
    inventory = await reader(cloud).read_apps(["b", "a"])
    assert [cvm.ref.id for cvm in inventory.cvms] == ["cvm_1", "cvm_2", "cvm_3"]
    assert (inventory.whole, inventory.stable, inventory.detailed) == (False, True, False)


async def test_a_list_short_of_its_total_twice_is_taken_as_unstable() -> None:
    cloud = FakeCloud(3)

    async def short(page: int, page_size: int) -> Reply[Page]:
        del page, page_size
        return Reply(value=Page(tuple(Cvm(ref=ref, status="running") for ref in cloud.refs), 4, 1), http_status=200)

    cloud.list_page = short  # type: ignore[method-assign]
    inventory = await reader(cloud).read_all()
    assert (len(inventory.cvms), inventory.whole, inventory.stable) == (3, True, False)


async def test_prices_are_unknown_if_their_list_cannot_be_read() -> None:
    cloud = FakeCloud(0)
    replies: list[Reply[Mapping[str, Decimal]]] = [
        Reply(value={"tdx.small": Decimal("0.058")}, http_status=200),
        Reply(http_status=400, problem="HTTP 400"),
    ]

    async def price_list() -> Reply[Mapping[str, Decimal]]:
        return replies.pop(0)

    cloud.price_list = price_list  # type: ignore[method-assign]
    assert await reader(cloud).price_list() == {"tdx.small": Decimal("0.058")}
    assert await reader(cloud).price_list() == {}
