"""The writer of records: verdicts, cut answers and outages, over a real database."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from orchestrator.audit.log import Batch
from orchestrator.audit.record import Chain
from orchestrator.errors import AuditError
from orchestrator.postgres.lease import Lease, Release, let_go_run, take_run
from orchestrator.postgres.lease_keeper import LeaseKeeper
from orchestrator.postgres.link import Link
from orchestrator.postgres.record_writer import RecordWriter
from orchestrator.times import utc_now
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Holder
from tests.postgres.proxy import Proxy, start_proxy

pytestmark = pytest.mark.anyio
SECONDS = 30.0
EXPIRE = "UPDATE orchestrator.runs SET lease_until = clock_timestamp() - interval '1 ms'"


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


class World(NamedTuple):
    """A proxy to the database, a link through the proxy, and a direct connection of another worker."""

    proxy: Proxy
    link: Link
    other: Holder

    async def take(self, run_id: str = RUN) -> Lease:
        """Submit and take a run through the proxy."""
        self.other.submit(run_id)
        lease = await take_run(self.link.query, run_id, "w1", SECONDS, taker="worker")
        assert lease is not None
        return lease

    def lines(self, run_id: str = RUN) -> list[bytes]:
        """The lines in the database."""
        return [bytes(line) for _, line in self.other.call("read_records", run_id, 0)]


@pytest.fixture
async def world(cluster: Cluster, database: str, connect: Connect) -> AsyncIterator[World]:
    with start_proxy(cluster.folder, cluster.port) as proxy:
        link = Link(f"postgresql://wes_worker@127.0.0.1:{proxy.port}/{database}", timeout=5.0)
        yield World(proxy, link, Holder(connect("wes_worker")))
        await link.close()


def make_batches(run_id: str = RUN, *, lots: int = 1, size: int = 2) -> list[Batch]:
    chain = Chain(run_id)
    return [[chain.append("action.intent", {"n": n}, utc_now()) for n in range(size)] for _ in range(lots)]


async def test_batches_of_many_runs_go_into_one_statement_each_run_with_its_own_verdict(
    world: World, cluster: Cluster, database: str
) -> None:
    names = [f"run-{n}" for n in range(20)]
    leases = [await world.take(name) for name in names]
    cluster.execute(f"{EXPIRE} WHERE run_id = 'run-3'", database)
    assert world.other.take("run-3") is not None
    statements = 0

    async def count(statement: str, arguments: object) -> list[tuple[object, ...]]:
        nonlocal statements
        statements += 1
        return await world.link.query(statement, arguments)  # type: ignore[arg-type] # as given

    batches = {name: make_batches(name)[0] for name in names}
    writer = RecordWriter(count, SECONDS, 5.0)
    async with writer.work():
        writes = [writer.write(lease, batches[lease.run_id]) for lease in leases]
        errors = await asyncio.gather(*writes, return_exceptions=True)
    assert statements == 1
    assert [name for name, error in zip(names, errors, strict=True) if error] == ["run-3"]
    assert str(errors[3]) == "another process took the run over: its lease had expired"
    assert [lease.is_lost for lease in leases] == [name == "run-3" for name in names]
    for name in names:
        assert world.lines(name) == ([] if name == "run-3" else [line for _, line in batches[name]])


async def test_a_fenced_run_writes_nothing_any_more(world: World, cluster: Cluster, database: str) -> None:
    lease = await world.take()
    cluster.execute(EXPIRE, database)
    assert world.other.take() is not None
    first, second = make_batches(lots=2)
    writer = RecordWriter(world.link.query, SECONDS, 5.0)
    async with writer.work():
        for batch in (first, second):
            with pytest.raises(AuditError, match="took the run over"):
                await writer.write(lease, batch)
    assert (lease.is_lost, lease.lasts(0.0), world.lines()) == (True, False, [])
    assert await let_go_run(world.link.query, lease, Release("finished", 0)) is False


async def test_a_commit_whose_answer_is_cut_off_counts_once(world: World) -> None:
    lease = await world.take()
    writer = RecordWriter(world.link.query, SECONDS, 5.0)
    first, second = make_batches(lots=2)
    world.proxy.cut_after = b"append_records"
    async with writer.work():
        await writer.write(lease, first)
        await writer.write(lease, second)
    assert world.proxy.cuts == 1
    assert world.lines() == [line for _, line in first + second]


async def test_an_outage_shorter_than_the_limit_delays_the_batch(world: World) -> None:
    lease = await world.take()
    writer = RecordWriter(world.link.query, SECONDS, 20.0)
    (batch,) = make_batches()
    world.proxy.break_off()
    async with writer.work(), asyncio.TaskGroup() as group:
        group.create_task(writer.write(lease, batch))
        await asyncio.sleep(0.15)
        assert world.lines() == []
        world.proxy.is_down = False
    assert world.lines() == [line for _, line in batch]


async def test_an_outage_longer_than_the_limit_ends_the_run(world: World) -> None:
    lease = await world.take()
    writer = RecordWriter(world.link.query, SECONDS, 0.2)
    world.proxy.break_off()
    async with writer.work():
        with pytest.raises(AuditError, match="can't be reached") as caught:
            await writer.write(lease, make_batches()[0])
        assert caught.value.hint == f"nothing more was sent; once the store is up: `orchestrator resume {RUN}`"
        world.proxy.is_down = False
        other = await world.take("another")
        await writer.write(other, make_batches("another")[0])
    assert (len(world.lines()), len(world.lines("another"))) == (0, 2)


async def test_a_hurried_run_waits_no_longer_for_the_end_of_an_outage(world: World) -> None:
    lease, other = await world.take(), await world.take("other")
    world.proxy.break_off()
    writer = RecordWriter(world.link.query, SECONDS, 60.0)
    async with writer.work(), asyncio.TaskGroup() as group:
        waiting = group.create_task(writer.write(other, make_batches("other")[0]))
        lease.is_hurried = True
        with pytest.raises(AuditError, match="can't be written: no answer for"):
            await writer.write(lease, make_batches()[0])
        assert not waiting.done()
        world.proxy.is_down = False
    assert len(world.lines("other")) == 2


async def test_a_log_with_another_end_is_lost_and_never_mended(world: World) -> None:
    lease = await world.take()
    first, _second, third = make_batches(lots=3)
    writer = RecordWriter(world.link.query, SECONDS, 5.0)
    async with writer.work():
        await writer.write(lease, first)
        with pytest.raises(AuditError, match="no longer ends with record 4"):
            await writer.write(lease, third)
    assert world.lines() == [line for _, line in first]


async def test_records_that_contradict_the_table_fail_their_run_alone(
    world: World, cluster: Cluster, database: str
) -> None:
    good, bad = await world.take("good"), await world.take("bad")
    writer = RecordWriter(world.link.query, SECONDS, 5.0)
    batches = {name: make_batches(name, lots=2) for name in ("good", "bad")}
    async with writer.work():
        await writer.write(bad, batches["bad"][0])
        cluster.execute("UPDATE orchestrator.runs SET seq = 0, head = repeat('0', 64) WHERE run_id = 'bad'", database)
        writes = [writer.write(good, batches["good"][0]), writer.write(bad, make_batches("bad")[0])]
        errors = await asyncio.gather(*writes, return_exceptions=True)
    assert errors[0] is None
    assert "duplicate key" in str(errors[1])
    assert len(world.lines("good")) == 2


async def test_batches_without_an_answer_fail_at_the_end_of_the_process(world: World) -> None:
    lease = await world.take()
    world.proxy.break_off()
    writer = RecordWriter(world.link.query, SECONDS, 60.0)
    async with writer.work():
        task = asyncio.create_task(writer.write(lease, make_batches()[0]))
        await asyncio.sleep(0)
    with pytest.raises(AuditError, match="the process ends"):
        await task


async def test_the_keeper_renews_held_leases_and_finds_lost_leases_and_wishes_to_stop(
    world: World, cluster: Cluster, database: str, connect: Connect
) -> None:
    kept, taken, freed = [await world.take(name) for name in ("kept", "taken", "freed")]
    lost = []
    taken.when_lost(lambda: lost.append("taken"))
    keeper = LeaseKeeper(world.link.query, SECONDS)
    for lease in (kept, taken, freed):
        keeper.add(lease)
    cluster.execute(f"{EXPIRE} WHERE run_id = 'taken'", database)
    assert world.other.take("taken") is not None
    keeper.remove(freed)
    assert await let_go_run(world.link.query, freed)
    Holder(connect("oli_operator")).call("cancel_run", "kept", True, "ann@host")
    before = kept.seconds_left()
    await keeper.renew()
    assert (lost, taken.is_lost, freed.is_lost, kept.is_lost) == (["taken"], True, False, False)
    assert kept.stop_wanted == "at_once"
    assert kept.seconds_left() > before


async def test_the_keeper_renews_by_itself_also_after_an_outage(world: World) -> None:
    lease = await world.take()
    keeper = LeaseKeeper(world.link.query, 0.5)
    keeper.add(lease)
    world.proxy.break_off()
    renewed = asyncio.Event()
    lease.renew = lambda *_: renewed.set()  # type: ignore[method-assign] # only the call counts
    async with keeper.keep():
        await asyncio.sleep(0.05)
        assert not renewed.is_set()
        world.proxy.is_down = False
        async with asyncio.timeout(10):
            await renewed.wait()
