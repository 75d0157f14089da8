"""Three schedulers over a real server, under kills, pauses and restarts: each firing once, none missing.

The schedules' time is sped up: two seconds are a minute.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import psycopg
import pytest

from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.postgres.duty import StoreDuty
from orchestrator.postgres.link import Link
from orchestrator.service import duty_runner
from orchestrator.service.scheduler import GRACE
from orchestrator.times import parse_timestamp, timestamp
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.proxy import Proxy
from tests.service.crew import Crew
from tests.service.host import MONDAY, Host

pytestmark = pytest.mark.anyio
SPEED = 30
NAMES = ("a", "b", "c")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


class PausedDuty(StoreDuty):
    """The duty of a process that can be paused, with the sped-up time."""

    def __init__(self, url: str, holder: str, lease: float, begins: float) -> None:
        self.link, self._begins = Link(url, timeout=2.0), begins
        super().__init__(self._query_unless_paused, holder=holder, lease=lease)
        self.goes_on = anyio.Event()
        self.goes_on.set()
        self.is_dead = False

    def die(self) -> None:
        """End the process: nothing more reaches the store."""
        self.is_dead = True
        self.goes_on.set()

    def wall(self) -> datetime:
        return MONDAY + timedelta(seconds=(super().wall().timestamp() - self._begins) * SPEED)

    def pause(self) -> None:
        """Stop the process, like SIGSTOP."""
        self.goes_on = anyio.Event()

    async def _query_unless_paused(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        await self.goes_on.wait()
        if self.is_dead:
            raise StoreDownError("the process is dead")
        rows = await self.link.query(statement, arguments)
        await self.goes_on.wait()
        return rows


class DatabaseCrew(Crew):
    """Schedulers over a real server, reached through a proxy."""

    def __init__(self, home: Host, cluster: Cluster, database: str, proxy: Proxy, *, seed: int) -> None:
        super().__init__(home, seed=seed, lease=0.5, try_every=0.05)
        self.cluster, self.name, self.proxy = cluster, database, proxy
        ((self.begins,),) = self.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        self.stores: list[PausedDuty] = []

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute a statement as the superuser."""
        with psycopg.connect(self.cluster.admin_url(self.name)) as connection:
            return connection.execute(statement.encode()).fetchall()

    def open_store(self, name: str) -> PausedDuty:
        url = self.cluster.url(self.name, "wes_worker").replace(f":{self.cluster.port}/", f":{self.proxy.port}/")
        self.stores.append(PausedDuty(url, name, self.lease, self.begins))
        return self.stores[-1]

    async def carry_out_runs(self, seconds: float) -> None:
        url = f"postgresql://wes_worker@/{self.name}?host={self.cluster.folder}&port={self.cluster.port}"
        self.worker = Link(url)
        free = "SELECT run_id FROM orchestrator.list_free_runs(%s, 1)"
        while True:
            with suppress(OrchestratorError):  # the server restarts
                for (run_id,) in await self.worker.query(free, [["prod"]]):
                    await self._carry_out(self.worker, run_id)
            await anyio.sleep(seconds)

    async def close(self) -> None:
        """Close all connections, once all processes have ended."""
        for each in (self.worker, *(store.link for store in self.stores)):
            await each.close()

    async def _carry_out(self, link: Link, run_id: str) -> None:
        lease_id = uuid.uuid4()
        taken = await link.query("SELECT epoch FROM orchestrator.take_run(%s, %s, 'w', '1 s', 1)", [run_id, lease_id])
        for (epoch,) in taken:
            await link.query(
                "SELECT orchestrator.let_go_run(%s, %s, %s, 'finished', 0, NULL, NULL)", [run_id, epoch, lease_id]
            )


@pytest.fixture
def open_crew(
    tmp_path: Path, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], DatabaseCrew]]:
    """Open schedulers over the database of the test."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr(duty_runner, "POLL_EVERY", 0.05)
    proxy = Proxy(cluster.folder / f".s.PGSQL.{cluster.port}")

    def open_one(seed: int) -> DatabaseCrew:
        return DatabaseCrew(Host(tmp_path, scan_interval=0.05), cluster, database, proxy, seed=seed)

    yield open_one
    proxy.close()


async def disturb(crew: DatabaseCrew, rounds: int, *, restarts: bool) -> None:
    """Kill, pause, stop and restart processes, cut answers off, and break the way to the server."""
    rng = Random(crew.rng.random())
    kinds = ["kill", "pause", "stop", "cut", "outage", *(["restart"] if restarts else [])]
    for what in kinds * rounds:
        await anyio.sleep(rng.uniform(0.2, 0.6))
        name = rng.choice([*crew.leaders, *NAMES])
        process = crew.processes[name]
        if what == "cut":
            crew.proxy.cut_after = rng.choice([b"claim_firing", b"append_journal", b"take_duty"])
        elif what == "outage":
            crew.proxy.break_off()
            await anyio.sleep(rng.uniform(0.05, 0.4))
            crew.proxy.is_down = False
        elif what == "restart":
            await anyio.to_thread.run_sync(crew.cluster.restart)
        elif what == "pause":
            process.store.pause()
            await anyio.sleep(rng.uniform(0.3, 1.5))
            process.store.goes_on.set()
        else:
            await (process.kill() if what == "kill" else process.stop())
            await process.store.link.close()
            await anyio.sleep(rng.uniform(0.05, 0.5))
            crew.start(name)


def count_firings(claim: dict[str, Any], wait: timedelta) -> int:
    """Count the firings of a claim: the missed firings, and the firing itself unless it is one of them.

    Args:
        claim: the record.
        wait: the wait of the record for the record before, after the decision whether the firing was missed.
    """
    is_missed = parse_timestamp(claim["ts"]) - wait - parse_timestamp(claim["moment"]) > GRACE
    return int(claim["missed"]) + (not is_missed)


async def hold_to_once(crew: DatabaseCrew, rounds: int, *, restarts: bool = False) -> None:
    """Every minute of two schedules is a firing of its own run, or is made up for by the next run."""
    for name in ("one", "two"):
        crew.home.write(name, cron="* * * * *", timezone="UTC", on_missed="run_once", on_overlap="queue")
    async with crew.work(*NAMES, seconds=0.05):
        await anyio.sleep(0.5)
        await disturb(crew, rounds, restarts=restarts)
        await anyio.sleep(3)
    await crew.close()
    lines = crew.query("SELECT seq, epoch, line FROM orchestrator.journal ORDER BY seq")
    assert [seq for seq, _, _ in lines] == list(range(1, len(lines) + 1))
    epochs = [epoch for _, epoch, _ in lines]
    assert epochs == sorted(epochs), "a process of an older epoch wrote after a newer epoch"
    assert len(set(epochs)) >= 2
    for name in ("one", "two"):
        records = [line for _, _, line in lines if line.get("playbook") == name]
        claims = [each for each in records if each["event"] == "firing.claimed"]
        planned = [parse_timestamp(each["planned"]) for each in claims]
        assert len(set(planned)) == len(planned), "a firing was claimed twice"
        left_out = sum(each["count"] for each in records if each["event"] == "firing.left_out")
        least, most = (left_out + sum(count_firings(each, wait) for each in claims) for wait in (timedelta(), MINUTE))
        enabled = next(parse_timestamp(each["ts"]) for each in records if each["event"] == "schedule.enabled")
        assert least <= (max(planned) - enabled) // MINUTE + 1 <= most, "a firing is missing"
        runs = crew.query(
            f"SELECT run_id, planned, state FROM orchestrator.runs WHERE playbook = '{name}'"  # noqa: S608 - a constant
        )
        assert {run_id for run_id, _, _ in runs} == {each["run_id"] for each in claims}
        assert sorted(at for _, at, _ in runs) == sorted(planned)
        ended = {each["planned"] for each in records if each["event"] == "firing.ended" and each["exit_code"] == 0}
        assert {timestamp(each) for each in planned if max(planned) - each > MINUTE} <= ended


async def test_each_firing_runs_once_on_three_machines(open_crew: Callable[[int], DatabaseCrew]) -> None:
    await hold_to_once(open_crew(1), 1)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10, 12))
async def test_each_firing_runs_once_through_restarts_of_the_server(
    open_crew: Callable[[int], DatabaseCrew], seed: int
) -> None:
    await hold_to_once(open_crew(seed), 40, restarts=True)
