"""Reading statuses where the batch operation does not do its part."""

import anyio
import pytest

from orchestrator.engine.context import SettleSettings
from orchestrator.reply import Reply
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
