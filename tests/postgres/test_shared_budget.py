"""The rate budget of a workspace over several processes, with real connections and a real clock."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.postgres.budget import BudgetTerms, StoreBudget, agree_terms
from orchestrator.postgres.lease import Fence
from orchestrator.postgres.link import Link
from orchestrator.times import boot_seconds
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import Holder, require
from tests.postgres.sender import Sender
from tests.postgres.test_turns import require_within_limit

pytestmark = pytest.mark.anyio
RATE, BURST = 50.0, 5
ANY_FENCE = Fence("a", 1, UUID(int=1))


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


@pytest.fixture
def worker(connect: Connect) -> Holder:
    return Holder(connect("wes_worker"))


@pytest.fixture
def url(cluster: Cluster, database: str) -> str:
    return f"postgresql://wes_worker@/{database}?host={cluster.folder}&port={cluster.port}"


@pytest.fixture
def fences(worker: Holder) -> list[Fence]:
    """Three runs of one workspace."""
    found = []
    for name in ("a", "b", "c"):
        worker.submit(name)
        found.append(Fence(*require(worker.take(name))))
    worker.call("set_budget", "prod", RATE, BURST)
    return found


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_never_exceed_the_limit_and_use_nearly_the_whole_rate(
    url: str, fences: list[Fence], processes: int
) -> None:
    commands = [[sys.executable, "-m", "tests.postgres.sender", url, *map(str, fence)] for fence in fences[:processes]]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    until = boot_seconds() + 2.0
    for each in running:
        assert each.stdin is not None
        each.stdin.write(f"{until}\n")
        each.stdin.flush()
    parts = [json.loads(each.communicate(timeout=60)[0]) for each in running]
    went = sorted(moment for part in parts for moment in part)
    require_within_limit(went, RATE, BURST)
    begin = max(part[0] for part in parts)
    assert len([at for at in went if at >= begin]) >= 0.95 * RATE * (until - begin)
    assert min(map(len, parts)) >= 10


async def test_one_pause_holds_all(url: str, fences: list[Fence]) -> None:
    senders = [Sender(url, fence) for fence in fences]
    begin = boot_seconds()

    async def ask_for_pause() -> None:
        await asyncio.sleep(0.7)
        senders[0].budget.pause(2.0)

    await asyncio.gather(ask_for_pause(), *(each.run(begin + 3.2) for each in senders))
    went = sorted(at for sender in senders for at in sender.went)
    require_within_limit(went, RATE, BURST)
    assert [at for at in senders[0].went if begin + 0.75 <= at <= begin + 2.65] == []
    assert [at for at in went if begin + 1.5 <= at <= begin + 2.65] == [], "the others know after their last slice"
    assert len([at for at in went if at >= begin + 2.7]) >= 0.9 * RATE * 0.5, "and all go on"


async def test_a_fenced_run_gets_no_turn(url: str, fences: list[Fence], cluster: Cluster, database: str) -> None:
    sender = Sender(url, fences[0])
    cluster.execute("UPDATE orchestrator.runs SET epoch = epoch + 1 WHERE run_id = 'a'", database)
    await sender.run(boot_seconds() + 0.5)
    assert sender.went == []
    assert sender.questions == 1
    assert sender.attempts <= 30
    assert 0 < sender.budget.wait_seconds() < 10
    assert 0 < sender.budget.take_turn() < 10


async def test_a_session_goes_on_with_turns_of_its_run_even_under_another_name_of_the_workspace(
    url: str, fences: list[Fence], worker: Holder
) -> None:
    worker.call("set_budget", "default", RATE, BURST)
    sender = Sender(url, None, workspace="default")
    task = asyncio.create_task(sender.run(boot_seconds() + 0.8))
    await asyncio.sleep(0.4)
    assert len(sender.went) > 5
    count = len(sender.went)
    sender.budget.hold(fences[0], "prod")
    await task
    assert len(sender.went) > count + 5


async def test_without_the_database_nothing_goes_and_afterwards_requests_go_again(
    url: str, fences: list[Fence], cluster: Cluster
) -> None:
    sender, begin = Sender(url, fences[0]), boot_seconds()
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'wes_worker'"

    async def end_connections() -> None:
        await asyncio.sleep(0.4)
        cluster.execute("ALTER ROLE wes_worker NOLOGIN")
        cluster.execute(end_all)
        before = sender.attempts, sender.questions
        await asyncio.sleep(1.2)
        attempts, questions = sender.attempts - before[0], sender.questions - before[1]
        assert attempts <= 60
        assert questions <= 8
        cluster.execute("ALTER ROLE wes_worker LOGIN")

    try:
        await asyncio.gather(end_connections(), sender.run(begin + 3.2))
    finally:
        cluster.execute("ALTER ROLE wes_worker LOGIN")
    require_within_limit(sender.went, RATE, BURST)
    assert [at for at in sender.went if begin + 1.0 <= at <= begin + 1.5] == []
    assert len([at for at in sender.went if at >= begin + 2.7]) >= 0.8 * RATE * 0.5


class SilentDatabase:
    """Answers no question until told so."""

    def __init__(self) -> None:
        self.questions = 0
        self.error: Exception | None = None
        self.answers = asyncio.Event()

    async def query(self, _: str, __: Sequence[object]) -> list[tuple[Any, ...]]:
        """Answer a question, as `Link.query`."""
        self.questions += 1
        if self.error is not None:
            raise self.error
        await self.answers.wait()
        return [(1000.0, 1000.0, RATE, BURST, 0.0)]


async def test_waits_are_short_and_finite_while_the_answer_is_on_its_way() -> None:
    database, times = SilentDatabase(), [5.0]
    budget = StoreBudget(database.query, "prod", ANY_FENCE, clock=lambda: times[-1])
    task = asyncio.create_task(budget.run())
    assert 0 < budget.take_turn() <= 0.25
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert database.questions == 1
    waits = []
    for now in (5.001, 5.01, 5.1, 8.0):
        times.append(now)
        waits.append(budget.take_turn())
        assert budget.wait_seconds() == 0.0
    assert waits == sorted(waits)
    assert waits[-1] == 0.25
    budget.close()
    database.answers.set()
    await task


async def test_a_longer_pause_follows_a_shorter_pause_and_no_pause_is_shortened() -> None:
    database, asked = SilentDatabase(), list[Sequence[object]]()

    async def query(statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        asked.append([statement.partition("(")[0].rpartition(".")[2], *arguments[-1:]])
        return await database.query(statement, arguments)

    budget = StoreBudget(query, "prod", ANY_FENCE, clock=lambda: 5.0)
    task = asyncio.create_task(budget.run())
    for seconds in (10, 30, 20):
        budget.pause(seconds)
        await asyncio.sleep(0.01)
    assert (budget.paused_for(), budget.take_turn()) == (30, 30)
    database.answers.set()
    await asyncio.sleep(0.05)
    assert asked == [["pause_workspace", timedelta(seconds=seconds)] for seconds in (10, 30)], "and no turns are taken"
    budget.close()
    await task


async def test_a_refused_question_is_a_warning_once_and_repeated_with_growing_pauses() -> None:
    database, warnings = SilentDatabase(), list[dict[str, object]]()
    database.error = SettingsError("no rights")
    budget = StoreBudget(database.query, "prod", ANY_FENCE, warn=lambda _, **facts: warnings.append(facts))
    task = asyncio.create_task(budget.run())
    for _ in range(8):
        await asyncio.sleep(0.05)
        assert 0 < budget.take_turn() <= 0.25
    assert 2 <= database.questions <= 4
    assert warnings == [{"reason": "no rights"}]
    budget.close()
    await task


async def test_an_explicit_rate_replaces_the_rate_of_another_machine_with_a_warning(url: str) -> None:
    link = Link(url)

    async def agree(rate: float, by: str, *, is_explicit: bool = True) -> tuple[float, str | None]:
        terms, warning = await agree_terms(link.query, "prod", BudgetTerms(rate, 3), is_explicit=is_explicit, by=by)
        return terms.rate, warning

    assert await agree(5, "ann@a", is_explicit=False) == (5, None)
    assert await agree(20, "bob@b") == (20, None), "nobody had set a rate"
    assert await agree(20, "ann@a") == (20, None)
    assert await agree(30, "ann@a") == (30, None), "her own rate"
    assert await agree(5, "eve@e", is_explicit=False) == (30, None)
    warning = (
        "workspace prod has 8 requests per second, burst 3 from now on; ann@a had set 30 requests per second, burst 3"
    )
    assert await agree(8, "bob@b") == (8, warning)
    await link.close()


async def test_a_statement_without_an_answer_ends_in_time_and_the_next_one_works(url: str) -> None:
    link = Link(url, timeout=0.3)
    with pytest.raises(StoreDownError, match="no answer"):
        await link.query("SELECT pg_sleep(30)")
    assert await link.query("SELECT 1") == [(1,)]
    await link.close()
