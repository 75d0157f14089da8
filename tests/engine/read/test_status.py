"""Reads of many statuses: batches and their sizes, single reads, the list, and deleted CVMs."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import anyio
import pytest

from orchestrator.cvm import Cvm, CvmRef
from orchestrator.engine.context import SettleSettings
from orchestrator.engine.read.status import Observation, StatusReader
from orchestrator.reply import Page, Reply, StatusRead
from tests.engine.fakes import FakeCloud, Fleet, failed

pytestmark = pytest.mark.anyio


async def test_a_missing_batch_operation_is_replaced_by_list_pages_where_those_are_fewer() -> None:
    cloud = FakeCloud(250)
    cloud.batch = lambda _uuids: Reply(http_status=404, problem="no such operation")
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 250}
    assert cloud.count("batch") == 1
    assert cloud.count("list") > 0
    assert cloud.count("state") <= 12


async def test_a_missing_batch_operation_is_replaced_by_single_reads_for_few_cvms() -> None:
    cloud = FakeCloud(3)
    cloud.batch = lambda _uuids: Reply(http_status=405, problem="no such operation")
    fleet = Fleet(cloud)
    fleet.run.reader.workspace_size = 5000
    await fleet.go()
    assert fleet.outcomes() == {"settled": 3}
    assert cloud.count("list") == 0


async def test_a_batch_that_is_too_large_shrinks_by_round_numbers_until_it_fits() -> None:
    cloud = FakeCloud(300)
    cloud.batch = lambda uuids: Reply(http_status=422, problem="too many") if len(uuids) > 100 else None
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 300}
    assert fleet.run.reader.batch_size == 100
    assert cloud.count("state") == 0


async def test_once_a_size_is_known_to_be_taken_many_batches_are_read_side_by_side() -> None:
    cloud = FakeCloud(1000, latency=1)
    fleet = Fleet(cloud, settle=SettleSettings(batch_size=100), burst=20)
    seen = await fleet.run.reader.read_statuses(cloud.refs)
    assert len(seen) == 1000
    assert [int(size) for _, _, size in cloud.requests] == [100] * 10
    assert anyio.current_time() < 2.2  # one to find out, then nine at once


async def test_a_size_that_is_refused_to_many_side_by_side_shrinks_once() -> None:
    cloud = FakeCloud(10_000, latency=1)
    reader = Fleet(cloud, burst=40).run.reader
    await reader.read_statuses(cloud.refs[:1000])
    cloud.batch = lambda uuids: Reply(http_status=422) if len(uuids) > 500 else None
    assert len(await reader.read_statuses(cloud.refs)) == 10_000
    assert (reader.batch_size, reader.batch_missing) == (500, False)


async def test_batches_that_fail_in_one_moment_are_no_reason_to_read_each_cvm_by_itself() -> None:
    cloud = FakeCloud(1000, latency=1)
    reader = Fleet(cloud, burst=40, settle=SettleSettings(batch_size=200)).run.reader
    await reader.read_statuses(cloud.refs[:200])
    reader.workspace_size = 0
    until = anyio.current_time() + 1.5
    cloud.batch = lambda _uuids: Reply(http_status=500) if anyio.current_time() < until else None
    await reader.read_statuses(cloud.refs)
    assert cloud.count("state") + cloud.count("list") == 0


async def test_a_batch_that_keeps_failing_gives_way_to_single_reads() -> None:
    cloud = FakeCloud(5)
    cloud.batch = lambda _uuids: Reply(http_status=500, problem="down")
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 5}


async def test_a_uuid_that_the_batch_leaves_out_is_read_by_itself_the_second_time() -> None:
    cloud = FakeCloud(50)
    hidden = cloud.refs[7].uuid_key

    def batch(uuids: object) -> object:
        del uuids
        return Reply(
            value={ref.uuid_key: cloud.status(ref) for ref in cloud.refs if ref.uuid_key != hidden}, http_status=200
        )

    cloud.batch = batch  # type: ignore[assignment]
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 50}
    assert {name for _, kind, name in cloud.requests if kind == "state"} == {"web-7"}


async def test_a_cvm_without_uuid_is_read_by_its_hashid() -> None:
    cloud = FakeCloud(1)
    cloud.refs = [type(cloud.refs[0])("cvm_0", None, "web-0")]
    fleet = Fleet(cloud)
    await fleet.go()
    assert fleet.outcomes() == {"settled": 1}
    assert cloud.count("batch") == 0


async def test_an_api_that_is_down_while_cvms_settle_leaves_them_unsettled_at_their_deadline() -> None:
    cloud = FakeCloud(2)
    cloud.batch = lambda _uuids: Reply(problem="reset")

    async def state(_ref: object) -> object:
        return failed(None, "reset")

    cloud.read_state = state  # type: ignore[assignment,method-assign]
    fleet = Fleet(cloud, timeout=120)
    fleet.run.reader.workspace_size = 0
    await fleet.go()
    assert fleet.outcomes() == {"unsettled": 2}
    assert "could not be read after the 2m" in fleet.trail.of("target.failed")[0]["reason"]


def reader_of(cloud: FakeCloud, **settle: Any) -> StatusReader:  # noqa: ANN401 - any setting
    """The reader of a run over this cloud; the size of the workspace is unknown, so CVMs are read one by one."""
    reader = Fleet(cloud, rate=1000, burst=50, settle=SettleSettings(**settle)).workspace.reader
    reader.workspace_size = 0
    return reader


def leave_out(cloud: FakeCloud, *names: str) -> None:
    """Leave these CVMs out of every batch."""
    cloud.batch = lambda _uuids: Reply(
        value={ref.uuid_key or "": cloud.status(ref) for ref in cloud.refs if ref.name not in names}, http_status=200
    )


async def test_a_status_is_as_old_as_its_request() -> None:
    cloud = FakeCloud(2, latency=3)
    leave_out(cloud, "web-1")
    reader = reader_of(cloud)
    await anyio.sleep(100)
    assert await reader.read_statuses(cloud.refs) == {cloud.refs[0].key: Observation(StatusRead("running"), 100)}
    second = await reader.read_statuses(cloud.refs)
    assert [second[ref.key].begun for ref in cloud.refs] == [103, 106]


async def test_a_cvm_is_gone_if_the_api_itself_knows_no_such_cvm() -> None:
    cloud = FakeCloud(2)
    cloud.gone.add("web-1")
    reader = reader_of(cloud)
    await anyio.sleep(100)
    assert cloud.refs[1].key not in await reader.read_statuses(cloud.refs), "left out once, perhaps by chance"
    assert (await reader.read_statuses(cloud.refs))[cloud.refs[1].key] == Observation(None, 100)


async def test_a_cvm_shown_in_between_was_left_out_by_chance() -> None:
    cloud = FakeCloud(2)
    reader = reader_of(cloud)
    for names in (("web-1",), (), ("web-1",)):
        leave_out(cloud, *names)
        await reader.read_statuses(cloud.refs)
    assert cloud.count("state") == 0
    leave_out(cloud, "web-1")
    await reader.read_statuses(cloud.refs)
    assert cloud.count("state") == 1


async def test_cvms_without_uuid_and_cvms_left_out_are_read_in_the_same_round() -> None:
    cloud = FakeCloud(3)
    cloud.refs[0] = CvmRef("cvm_0", None, "web-0")
    leave_out(cloud, "web-0", "web-2")
    reader = reader_of(cloud)
    assert set(await reader.read_statuses(cloud.refs)) == {"cvm_0", "cvm_1"}
    assert set(await reader.read_statuses(cloud.refs)) == {"cvm_0", "cvm_1", "cvm_2"}


def entry(ref: CvmRef, status: str = "stopping", **fields: Any) -> Cvm:  # noqa: ANN401 - any field of a reference
    return Cvm(ref=replace(ref, **fields), status=status, in_progress=status == "stopping")


def hidden_by_a_gateway(cloud: FakeCloud, *pages: tuple[int, Sequence[Cvm]] | None) -> StatusReader:
    """Answer each read of the last CVM with a bare 404, and the list with these totals and entries; None is a fault."""
    leave_out(cloud, cloud.refs[-1].name)
    numbers = iter(pages)

    async def read_state(_ref: CvmRef) -> Reply[StatusRead]:
        return failed(404)

    async def list_page(page: int, page_size: int) -> Reply[Page]:
        del page, page_size
        found = next(numbers)
        return Reply(http_status=500) if found is None else Reply(value=Page(tuple(found[1]), found[0], 1))

    cloud.read_state, cloud.list_page = read_state, list_page  # type: ignore[assignment,method-assign]
    reader = reader_of(cloud)
    reader._left_out.update(dict.fromkeys((ref.key for ref in cloud.refs), 1))
    return reader


A, B, C = FakeCloud(3).refs
GONE = StatusRead("gone")


@pytest.mark.parametrize(
    ("pages", "status"),
    [
        ([(2, [entry(A), entry(B)])], GONE),
        ([(3, [entry(A), entry(B), entry(C)])], StatusRead("stopping", in_progress=True)),
        ([(3, [entry(A), entry(B), entry(C, "running")])], StatusRead("running")),
        ([(3, [entry(A), entry(B)])], None),
        ([(1, [entry(A), entry(B)])], None),
        ([None], None),
        ([(2, [entry(A, id=None), entry(B, id=None)])], GONE),
        ([(2, [entry(A, vm_uuid=None), entry(B, vm_uuid=None)])], GONE),
        ([(2, [entry(A, vm_uuid=None), entry(B, id=None)])], None),
        ([(2, [entry(A, id=None, vm_uuid=C.vm_uuid), entry(B)])], StatusRead("stopping", in_progress=True)),
    ],
    ids=[
        "not on a complete list",
        "on the list",
        "running by the list",
        "a list with entries missing",
        "a list with too many entries",
        "no list",
        "a list without hashids",
        "a list without UUIDs",
        "no identifier common to all",
        "on the list by its UUID",
    ],
)
async def test_after_a_bare_404_a_complete_list_decides_whether_a_cvm_is_gone(
    pages: list[tuple[int, Sequence[Cvm]] | None], status: StatusRead | None
) -> None:
    cloud = FakeCloud(3)
    reader = hidden_by_a_gateway(cloud, *pages)
    await anyio.sleep(100)
    found = (await reader.read_statuses(cloud.refs)).get(C.key)
    assert found == (None if status is None else Observation(None if status is GONE else status, 100))


@pytest.mark.parametrize(("id_of", "uuid_of"), [(None, C.vm_uuid), (C.id, None)], ids=["by UUID", "by hashid"])
async def test_a_cvm_without_one_of_its_identifiers_is_missing_by_the_other(
    id_of: str | None, uuid_of: str | None
) -> None:
    cloud = FakeCloud(3)
    cloud.refs[2] = CvmRef(id_of, uuid_of, "web-2")
    others = [entry(A), entry(B)]
    reader = hidden_by_a_gateway(cloud, (2, others))
    assert (await reader.read_statuses(cloud.refs))[cloud.refs[2].key].read is None


async def test_a_cvm_under_the_hashid_of_another_cvm_is_not_taken_for_gone() -> None:
    cloud = FakeCloud(2)
    both = entry(A, vm_uuid=cloud.refs[1].vm_uuid)
    reader = hidden_by_a_gateway(cloud, (1, [both]))
    cloud.batch = lambda _uuids: Reply(value={}, http_status=200)
    seen = await reader.read_statuses(cloud.refs)
    assert cloud.refs[1].key not in seen
    assert seen[cloud.refs[0].key].read == StatusRead("stopping", in_progress=True)


async def test_a_list_with_an_entry_twice_is_complete_only_if_a_second_read_agrees() -> None:
    cloud = FakeCloud(3)
    twice: tuple[int, Sequence[Cvm]] = (3, [entry(A), entry(B), entry(B)])
    reader = hidden_by_a_gateway(cloud, twice, (3, [entry(A), entry(A), entry(B)]), (2, [entry(A), entry(B)]))
    for is_gone in (False, True, True):
        assert (C.key in await reader.read_statuses(cloud.refs)) is is_gone
    other = hidden_by_a_gateway(FakeCloud(3), twice, (4, [entry(A), entry(B), entry(B), entry(B)]))
    for _ in range(2):
        assert C.key not in await other.read_statuses(cloud.refs)


async def test_every_page_of_the_list_is_read_once() -> None:
    cloud = FakeCloud(250)
    cloud.batch = lambda _uuids: Reply(http_status=501, problem="no such operation")
    reader = Fleet(cloud).workspace.reader
    seen = await reader.read_statuses(cloud.refs)
    assert len(seen) == 250
    assert [page for _, kind, page in cloud.requests if kind == "list"] == ["1", "2", "3"]
    assert reader.batch_missing


async def test_the_page_of_a_gateway_is_no_proof_of_a_missing_operation() -> None:
    cloud = FakeCloud(2)
    cloud.batch = lambda _uuids: Reply(http_status=404, problem="a page", is_json=False)
    reader = reader_of(cloud)
    assert await reader.read_statuses(cloud.refs) == {}
    assert not reader.batch_missing
    assert set(await reader.read_statuses(cloud.refs)) == {"cvm_0", "cvm_1"}, "the second fault in a row"


async def test_a_batch_that_works_again_starts_the_count_of_faults_anew() -> None:
    cloud, down = FakeCloud(3), True
    cloud.batch = lambda _uuids: Reply(http_status=500, problem="down") if down else None
    reader = reader_of(cloud)
    for now_down in (True, False, True):
        down = now_down
        await reader.read_statuses(cloud.refs)
    assert cloud.count("state") == 0
    await reader.read_statuses(cloud.refs)
    assert cloud.count("state") == 3


async def test_the_smallest_batch_refused_is_an_operation_that_does_not_work() -> None:
    cloud = FakeCloud(12)
    cloud.batch = lambda _uuids: Reply(http_status=413, problem="too large")
    reader = reader_of(cloud)
    assert len(await reader.read_statuses(cloud.refs)) == 12
    assert [int(size) for _, kind, size in cloud.requests if kind == "batch"] == [12, 10]
    assert (reader.batch_missing, reader.batch_size) == (True, 10)


async def test_a_smaller_batch_has_to_prove_itself_before_many_go_at_once() -> None:
    cloud = FakeCloud(400, latency=1)
    reader = reader_of(cloud, batch_size=200)
    await reader.read_statuses(cloud.refs[:200])
    cloud.batch = lambda uuids: Reply(http_status=422) if len(uuids) > 100 else None
    cloud.requests.clear()
    assert len(await reader.read_statuses(cloud.refs)) == 400
    by_time: dict[float, list[int]] = {}
    for at, _, size in cloud.requests:
        by_time.setdefault(round(at), []).append(int(size))
    assert list(by_time.values()) == [[200, 200], [100], [100, 100, 100]]


@pytest.mark.parametrize(
    ("retry_after", "ranges"),
    [(None, [(0.75, 1.25), (1.5, 2.5)]), (50.0, [(50, 55), (50, 55)])],
    ids=["no time named", "a time named"],
)
async def test_a_throttled_batch_pauses_every_request_and_longer_after_more_faults(
    retry_after: float | None, ranges: list[tuple[float, float]]
) -> None:
    cloud, pauses = FakeCloud(1), list[float]()
    cloud.batch = lambda _uuids: Reply(http_status=429, problem="too many", retry_after=retry_after)
    fleet = Fleet(cloud)
    pause = fleet.gate.pause

    def note_and_pause(seconds: float) -> None:
        pauses.append(seconds)
        pause(seconds)

    fleet.gate.pause = note_and_pause  # type: ignore[method-assign]
    for _ in ranges:
        await fleet.workspace.reader.read_statuses(cloud.refs)
    assert [low <= seconds <= high for seconds, (low, high) in zip(pauses, ranges, strict=True)] == [True, True]


@pytest.mark.parametrize("kind", ["state", "list"])
async def test_a_throttled_read_of_one_cvm_or_of_the_list_pauses_every_request(kind: str) -> None:
    cloud = FakeCloud(300)
    cloud.refs = [replace(ref, vm_uuid=None) for ref in cloud.refs]

    async def throttled(*_arguments: object) -> Reply[Any]:
        return Reply(http_status=429, problem="too many", retry_after=50.0)

    cloud.read_state = cloud.list_page = throttled  # type: ignore[assignment,method-assign]
    fleet = Fleet(cloud)
    with anyio.move_on_after(1):
        await fleet.workspace.reader.read_statuses(cloud.refs[: 1 if kind == "state" else 300])
    assert fleet.gate.paused_for > 45


async def test_a_reader_without_facts_about_the_server_begins_with_batches() -> None:
    cloud = FakeCloud(3)
    fleet = Fleet(cloud)
    reader = StatusReader(cloud=cloud, gate=fleet.gate, clock=fleet.clock, rng=Random(7), batch_size=10)
    assert (reader.workspace_size, reader.batch_missing) == (0, False)
    assert len(await reader.read_statuses(cloud.refs)) == 3
    assert cloud.count("batch") == 1
