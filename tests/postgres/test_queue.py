"""The queue of runs for a worker, with Procrastinate on a real server."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import psycopg
import pytest
from procrastinate.exceptions import ConnectorException

from orchestrator.errors import StoreDownError
from orchestrator.postgres import queue as queue_module
from orchestrator.postgres.queue import Offer, RunQueue, Stop
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Holder, require


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
async def queue(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunQueue]:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    made = RunQueue(cluster.url(database, "wes_worker"), "w1", ["prod"], version="1.0", format_=1)
    yield made
    await made.link.close()


@pytest.fixture
def worker(connect: Connect) -> Holder:
    return Holder(connect("wes_worker"))


def fail(event: str, **facts: object) -> None:
    pytest.fail(f"{event}: {facts}")


async def take_offers(queue: RunQueue, number: int) -> list[str]:
    """Offers of a worker up to a number."""
    offers: list[str] = []
    async with anyio.create_task_group() as group:

        async def offer(run_id: str) -> None:
            offers.append(run_id)
            if len(offers) == number:
                group.cancel_scope.cancel()

        group.start_soon(queue.work, offer, fail)
        await anyio.sleep(20)
        group.cancel_scope.cancel()
    return offers


async def test_jobs_offer_the_runs_of_own_workspaces_and_leave_nothing_behind(
    queue: RunQueue, worker: Holder, cluster: Cluster, database: str
) -> None:
    for run_id, workspace in (("a", "prod"), ("b", "dev"), ("c", "prod")):
        worker.submit(run_id, workspace=workspace)
        worker.call("queue_run", run_id)
    assert await take_offers(queue, 2) == ["a", "c"]
    with psycopg.connect(cluster.admin_url(database)) as connection:
        left = connection.execute("SELECT args->>'run_id' FROM orchestrator.procrastinate_jobs").fetchall()
    assert ("a",) not in left
    assert ("b",) in left


async def test_a_job_after_the_start_is_offered_at_once(queue: RunQueue, worker: Holder) -> None:
    offered = anyio.Event()
    async with anyio.create_task_group() as group:

        async def offer(run_id: str) -> None:
            assert run_id == RUN
            offered.set()

        group.start_soon(queue.work, offer, fail)
        worker.submit()
        worker.call("queue_run", RUN)
        with anyio.fail_after(20):
            await offered.wait()
        group.cancel_scope.cancel()


async def test_a_sweep_shows_the_worker_and_returns_the_runs_to_end(
    queue: RunQueue, worker: Holder, connect: Connect
) -> None:
    worker.submit()
    assert await queue.sweep() == []
    require(worker.take())
    operator = Holder(connect("oli_operator"))
    operator.call("cancel_run", RUN, True, "oli@host")
    assert await queue.sweep() == [Stop(RUN, at_once=True, by="oli@host")]
    assert operator.connection.execute("SELECT holder, workspaces FROM orchestrator.workers").fetchall() == [
        ("w1", ["prod"])
    ]
    found = await queue.read_submitter(RUN)
    assert (found.by, found.db_user, found.stop_by) == ("ann@host", "wes_worker", "oli@host")
    await queue.forget()
    assert operator.connection.execute("SELECT holder FROM orchestrator.workers").fetchall() == []


async def test_a_queue_of_an_unreachable_database_says_so_and_can_be_closed() -> None:
    queue = RunQueue("postgresql://ann@127.0.0.1:9/x", "w1", ["prod"], version="1.0", format_=1)
    with pytest.raises(StoreDownError):
        await queue.sweep()
    await queue.forget()


async def test_runs_are_offered_without_jobs_while_the_library_fails(
    cluster: Cluster, own_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version of Procrastinate may need functions that the schema lacks."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    cluster.execute("ALTER FUNCTION orchestrator.procrastinate_register_worker_v1 RENAME TO another", own_database)
    queue = RunQueue(cluster.url(own_database, "wes_worker"), "w1", ["prod"], version="1.0", format_=1)
    with psycopg.connect(cluster.url(own_database, "wes_worker"), autocommit=True) as connection:
        Holder(connection).submit()
    warnings: list[str] = []
    offered = anyio.Event()
    async with anyio.create_task_group() as group:

        async def offer(run_id: str) -> None:
            assert run_id == RUN
            offered.set()

        group.start_soon(queue.work, offer, lambda event, **_: warnings.append(event))
        with anyio.fail_after(20):
            await offered.wait()
        group.cancel_scope.cancel()
    assert warnings == ["queue.failed"]
    await queue.link.close()


async def test_two_workers_of_one_name_work_beside_each_other(
    queue: RunQueue, worker: Holder, cluster: Cluster, database: str, connect: Connect
) -> None:
    other = RunQueue(cluster.url(database, "wes_worker"), "w1", ["dev"], version="1.0", format_=1)
    for run_id, workspace in (("a", "prod"), ("b", "dev")):
        worker.submit(run_id, workspace=workspace)
        require(worker.take(run_id))
    assert await queue.sweep() == await other.sweep() == []
    Holder(connect("oli_operator")).call("cancel_run", "b", False, "oli@host")
    stop = [Stop("b", at_once=False, by="oli@host")]
    assert await queue.sweep() == await other.sweep() == stop  # each worker knows its own runs
    await other.forget()
    await queue.sweep()


class BrokenQueue(RunQueue):
    """A queue over a library that cancels its own tasks, as while a connection breaks."""

    attempts = 0

    async def _work(self, offer: Offer) -> None:
        del offer
        self.attempts += 1
        if self.attempts == 3:
            await anyio.sleep_forever()
        raise asyncio.CancelledError if self.attempts == 1 else ConnectorException("the connection broke")


async def test_a_library_that_cancels_itself_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_RESTART_S", 0.0)
    queue = BrokenQueue("postgresql://ann@127.0.0.1:9/x", "w1", ["prod"], version="1.0", format_=1)
    reasons: list[object] = []

    async def offer(run_id: str) -> None:
        pytest.fail(run_id)

    async with anyio.create_task_group() as group:
        group.start_soon(queue.work, offer, lambda _, **facts: reasons.append(facts["reason"]))
        with anyio.fail_after(5):
            while queue.attempts < 3:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert reasons == ["the library cancelled itself", "the connection broke"]
