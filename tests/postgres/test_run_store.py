"""Runs in PostgreSQL: the contract of the stores of runs, mirrors, takeovers, altered bytes."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path

import anyio
import pytest

from orchestrator.audit.events import Event
from orchestrator.audit.fleet_log import FleetEvent
from orchestrator.audit.record import Record
from orchestrator.audit.store import read_run
from orchestrator.audit.verify import Verdict, ignore_record, read_log
from orchestrator.errors import AlteredError, AuditError, OrchestratorError, RunHeldError, SettingsError, StoreDownError
from orchestrator.history.index import Index
from orchestrator.history.logs import read_rows
from orchestrator.postgres.fleet_store import StoreFleetStore
from orchestrator.postgres.run_store import StoreRunStore
from orchestrator.postgres.store_thread import StoreTerms, StoreThread
from orchestrator.runs.execute import _end_wait_when_cancelled
from orchestrator.times import parse_timestamp, utc_now
from tests.e2e.site import until
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import Holder
from tests.postgres.proxy import start_proxy
from tests.run_store_contract import FIRST, ONE, TWO, RunStoreContract, add, finish, read_all

pytestmark = pytest.mark.anyio
EXPIRE = "UPDATE orchestrator.runs SET lease_until = clock_timestamp() - interval '1 ms'"
OpenProcess = Callable[..., StoreRunStore]


@pytest.fixture
def anyio_backend() -> str:
    """The driver is for asyncio."""
    return "asyncio"


@pytest.fixture
def open_store(cluster: Cluster, database: str, tmp_path: Path) -> Iterator[OpenProcess]:
    """Open the store as another process on another machine does: with a thread and mirrors of its own."""
    threads, numbers = [], count(1)

    def open_process(
        user: str = "oli_operator",
        *,
        folder: str | None = None,
        url: str | None = None,
        compare: bool = False,
        outage: float = 0.3,
    ) -> StoreRunStore:
        number = next(numbers)
        url = url or f"postgresql://{user}@/{database}?host={cluster.folder}&port={cluster.port}"
        thread = StoreThread(StoreTerms(url, f"ann@host:{number}", outage=outage))
        threads.append(thread)
        state_dir = tmp_path / (folder or f"host-{number}")
        return StoreRunStore(thread, state_dir, "prod", (50.0, 10), "ann@host", compare=compare)

    yield open_process
    for thread in threads:
        thread.close()


class TestStoreRunStore(RunStoreContract):
    """The contract over PostgreSQL."""


def state_of(store: StoreRunStore, run_id: str = ONE) -> tuple[object, ...]:
    return store.thread.query(
        "SELECT state, exit_code, adopt, lease_id IS NULL FROM orchestrator.runs WHERE run_id = %s", [run_id]
    )[0]


async def test_the_state_of_a_run_follows_from_its_records(open_store: OpenProcess) -> None:
    store = open_store()
    log = store.create_log(ONE, FIRST)
    assert state_of(store) == ("ready", None, False, False)
    assert not store.get_run(ONE).is_continued()
    await add(log, Event.RUN_INTERRUPTED, reason="sigint", open=1, exit_code=130)
    log.close()
    assert state_of(store) == ("ready", None, False, True)
    await finish(store, TWO)
    assert state_of(store, TWO) == ("finished", 6, False, True)
    log, _ = store.get_run(TWO).open_log(ignore_record)
    log.close()
    assert state_of(store, TWO) == ("finished", 6, False, True)


@pytest.mark.parametrize(
    ("reason", "state", "waits"),
    [
        ("timed_out", "left", False),
        ("cloud_down", "ready", True),
        ("key_refused", "ready", True),
        ("sigterm", "ready", False),
    ],
)
async def test_the_reason_of_an_interruption_decides_when_a_worker_continues(
    open_store: OpenProcess, reason: str, state: str, waits: bool
) -> None:
    store = open_store()
    log = store.create_log(ONE, FIRST)
    await add(log, Event.RUN_INTERRUPTED, reason=reason, open=1, exit_code=8)
    log.close()
    found = store.thread.query("SELECT state, not_before > clock_timestamp() FROM orchestrator.runs")
    assert found == [(state, waits)]


async def test_a_log_with_another_end_is_left_to_a_person(
    open_store: OpenProcess, cluster: Cluster, database: str
) -> None:
    store = open_store()
    log = store.create_log(ONE, FIRST)
    cluster.execute("UPDATE orchestrator.runs SET head = repeat('f', 64)", database)
    log.record(Event.NOTICE)
    with pytest.raises(AuditError, match="no longer ends with record"):
        await log.flush()
    log.close()
    assert state_of(store) == ("left", None, False, True)


async def test_a_log_that_was_taken_over_is_whole_and_the_former_holder_writes_nothing(
    open_store: OpenProcess, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    mine, other = open_store(), open_store()
    former = mine.create_log(ONE, FIRST)
    cluster.execute(EXPIRE, database)
    log, reading = other.get_run(ONE).open_log(ignore_record)
    former.record(Event.NOTICE)
    with pytest.raises(AuditError, match="another process took the run over"):
        await former.flush()
    with pytest.raises(AuditError):
        former.record(Event.NOTICE)
    former.close()
    assert other.get_run(ONE).is_locked()
    log.record_resumed(reading.torn, unterminated=reading.unterminated, open=0)
    await add(log, Event.RUN_FINISHED, ending="completed", exit_code=0)
    log.close()
    exported = tmp_path / "exported.jsonl"
    exported.write_bytes(b"".join(read_all(open_store("vic_viewer"))))
    found = read_log(exported, ignore_record)
    assert (found.verdict, found.chain.seq) == (Verdict.WHOLE, 4)


async def test_a_finished_log_ends_a_run_whose_last_holder_died_before_letting_go(
    open_store: OpenProcess, cluster: Cluster, database: str
) -> None:
    mine, other = open_store(), open_store()
    log = mine.create_log(ONE, FIRST)
    await add(log, Event.RUN_FINISHED, ending="completed", exit_code=0)
    cluster.execute(EXPIRE, database)
    again, reading = other.get_run(ONE).open_log(ignore_record)
    assert reading.finished
    again.close()
    log.close()
    assert state_of(other) == ("finished", 0, False, True)


async def test_a_held_run_names_its_holder_and_the_rest_of_the_lease(open_store: OpenProcess) -> None:
    mine, other = open_store(), open_store()
    log = mine.create_log(ONE, FIRST)
    with pytest.raises(RunHeldError, match="ann@host:1") as caught:
        other.get_run(ONE).open_log(ignore_record)
    assert caught.value.hint is not None
    assert "its lease ends in 1m" in caught.value.hint or "s" in caught.value.hint
    log.close()


async def test_a_run_taken_by_a_worker_before_keeps_its_lease_for_the_log(open_store: OpenProcess) -> None:
    operator, worker = open_store(), open_store("wes_worker")
    operator.thread.query("SELECT FROM orchestrator.set_budget('prod', 5, 5)")
    operator.thread.query("SELECT orchestrator.submit_run(%s,'prod','b',NULL,'{}',1,0,'planning',true,'ann')", [ONE])
    lease = worker.thread.take(ONE, "worker")
    assert lease is not None
    assert (lease.state, worker.thread.find_lease(ONE)) == ("planning", lease)
    worker.create_log(ONE, FIRST).close()
    assert state_of(operator) == ("ready", None, True, True)
    lease = worker.thread.take(ONE, "worker")
    assert lease is not None
    log, _ = worker.get_run(ONE).open_log(ignore_record)
    await add(log, Event.RUN_FINISHED, ending="completed", exit_code=0)
    log.close()
    assert state_of(operator) == ("finished", 0, True, True)
    assert worker.thread.let_go(lease) is False


@pytest.mark.parametrize("place", ["mirror", "database"])
async def test_a_changed_byte_is_found(open_store: OpenProcess, cluster: Cluster, database: str, place: str) -> None:
    mine = open_store()
    await finish(mine)
    read_all(mine)
    comparing = open_store(folder="host-1", compare=True)
    assert comparing.find_log(ONE) == mine.path_of(ONE)
    if place == "mirror":
        path = mine.path_of(ONE)
        path.write_bytes(path.read_bytes().replace(b'"exit_code":6', b'"exit_code":0'))
        assert read_run(mine.get_run(ONE)).verdict is Verdict.ALTERED
    else:
        cluster.execute(
            "SET session_replication_role = replica; UPDATE orchestrator.records SET line ="
            " convert_to(replace(convert_from(line, 'UTF8'), '\"exit_code\":6', '\"exit_code\":0'), 'UTF8')",
            database,
        )
        assert read_run(open_store().get_run(ONE)).verdict is Verdict.ALTERED
    for find in (lambda: comparing.find_log(ONE), lambda: list(comparing)):
        with pytest.raises(AlteredError, match="the mirror and the log in the store differ"):
            find()
    await finish(mine, TWO)
    found: list[OrchestratorError] = []
    assert list(comparing.list_paths(found.append)) == [mine.path_of(TWO), mine.path_of(ONE)]
    assert [each.file for each in found] == [str(mine.path_of(ONE))]


async def test_a_mirror_mends_a_torn_line_and_refuses_another_log(open_store: OpenProcess) -> None:
    mine = open_store()
    await finish(mine)
    lines = read_all(mine)
    path = mine.path_of(ONE)
    for begin in (b"", b"".join(lines[:1]), b"".join(lines[:2]) + lines[2][:7], lines[0][:9]):
        path.write_bytes(begin)
        assert read_all(mine) == lines
    for other in (b"".join([*lines, b'{"seq":4,"hash":"x"}\n']), b'{"seq":3,"hash":"x"}\n', b"\n", b"text\n"):
        path.write_bytes(other)
        with pytest.raises(SettingsError, match="the mirror ends otherwise"):
            read_all(mine)
        assert path.read_bytes() == other


async def test_readers_of_one_folder_share_a_mirror_while_the_log_grows(open_store: OpenProcess) -> None:
    writer, readers = open_store(), [open_store(folder="shared", compare=number == 0) for number in range(3)]
    log = writer.create_log(ONE, FIRST)
    stopped = threading.Event()

    def read_on(reader: StoreRunStore) -> list[bytes]:
        while not stopped.is_set():
            assert len(read_all(reader)) >= 2
            assert [run.run_id for run in reader.list_runs()] == [ONE]
        return read_all(reader)

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read_on, reader) for reader in readers]
        for number in range(100):
            await add(log, Event.NOTICE, number=number)
        stopped.set()
        lines = [each.result(timeout=60) for each in reading]
    log.close()
    assert lines == [read_all(writer)] * 3
    # A reader whose knowledge of the end is older than the mirror.
    row = readers[1].read_row(ONE)
    readers[1]._update({**row, "seq": 3, "head": "0" * 64})
    assert len(read_all(readers[1])) == 102


async def test_a_mirror_with_another_end_does_not_end_the_list_of_runs(
    open_store: OpenProcess, cluster: Cluster, database: str, tmp_path: Path
) -> None:
    mine = open_store()
    await finish(mine, ONE)
    await finish(mine, TWO)
    assert len(list(mine)) == 2  # as before a failover without a synchronous standby
    cluster.execute(
        "SET session_replication_role = replica;"
        " DELETE FROM orchestrator.records r USING (SELECT max(run_id) AS id FROM orchestrator.runs) AS newest"
        " WHERE r.run_id = newest.id AND seq = 3;"
        " UPDATE orchestrator.runs SET seq = 2 WHERE run_id = (SELECT max(run_id) FROM orchestrator.runs)",
        database,
    )
    with Index(tmp_path) as index:
        rows = {run.run_id: row for run, row in read_rows(mine.list_runs(), index)}
    assert rows[ONE]["verdict"] == "whole"
    assert rows[TWO]["reason"] == "the mirror ends otherwise than the log in the store"
    with pytest.raises(SettingsError, match="the mirror ends otherwise"):
        list(mine)


async def test_many_and_long_lines_come_into_the_mirror(open_store: OpenProcess) -> None:
    mine, other = open_store(), open_store()
    log = mine.create_log(ONE, FIRST)
    for number in range(2500):
        log.record(Event.NOTICE, number=number)
    await add(log, Event.NOTICE, text="x" * 200_000)
    assert len(read_all(other)) == 2503
    await add(log, Event.NOTICE, text="y" * 200_000)
    log.close()
    assert other.thread.query("SELECT sum(length(line))::int FROM orchestrator.records")[0][0] == sum(
        map(len, read_all(other))
    )


async def test_a_viewer_reads_and_begins_nothing(open_store: OpenProcess) -> None:
    mine, viewer = open_store(), open_store("vic_viewer")
    mine.create_log(ONE, FIRST).close()
    assert len(read_all(viewer)) == 2
    with pytest.raises(SettingsError, match="no rights"):
        viewer.create_log(TWO, FIRST)
    with pytest.raises(SettingsError, match="no rights"):
        viewer.get_run(ONE).open_log(ignore_record)


def test_a_log_that_cannot_be_begun_leaves_a_void_run(open_store: OpenProcess, cluster: Cluster, database: str) -> None:
    with start_proxy(cluster.folder, cluster.port) as proxy:
        store = open_store(url=f"postgresql://oli_operator@127.0.0.1:{proxy.port}/{database}")
        assert list(store.list_runs()) == []
        proxy.break_off()
        with pytest.raises(StoreDownError):
            store.create_log(ONE, FIRST)
        proxy.is_down = False
        store.create_log(ONE, FIRST).close()


def test_the_time_of_day_follows_the_clock_of_the_database(
    open_store: OpenProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    monkeypatch.setattr("orchestrator.postgres.store_thread._CLOCK_EVERY_S", 0.01)
    assert abs((store.thread.wall() - utc_now()).total_seconds()) < 5
    monkeypatch.setattr(store.thread, "_offset", 0.0)
    until(lambda: abs((store.thread.wall() - utc_now()).total_seconds()) < 5)


async def test_an_outage_is_reported_at_its_beginning_and_end(
    open_store: OpenProcess, cluster: Cluster, database: str
) -> None:
    with start_proxy(cluster.folder, cluster.port) as proxy:
        store = open_store(url=f"postgresql://oli_operator@127.0.0.1:{proxy.port}/{database}")
        log = store.create_log(ONE, FIRST)
        told: list[str] = []

        def hear(event: str, *, run_id: str, note: str) -> None:
            told.append(event)
            assert run_id == ONE
            if event == "store.down":
                assert note.endswith("after 0.3s the run ends, resumable.")
                proxy.is_down = False

        log.backing.report_outages(hear)
        proxy.break_off()
        await add(log, Event.NOTICE)
        assert told == ["store.down", "store.up"]
        await add(log, Event.NOTICE)
        proxy.break_off()
        log.backing.report_outages(lambda event, **_: told.append(event))
        log.record(Event.NOTICE)
        with pytest.raises(AuditError, match="can't be reached"):
            await log.flush()
        assert told == ["store.down", "store.up", "store.down"]
        log.close()
        proxy.is_down = False
        assert len(read_all(store)) == 4
        assert state_of(store)[0] == "ready"


async def test_a_second_signal_ends_a_run_while_the_store_is_down(
    open_store: OpenProcess, cluster: Cluster, database: str
) -> None:
    with start_proxy(cluster.folder, cluster.port) as proxy:
        url = f"postgresql://oli_operator@127.0.0.1:{proxy.port}/{database}"
        store = open_store(url=url, outage=60.0)
        log = store.create_log(ONE, FIRST)
        proxy.break_off()
        log.record(Event.NOTICE)
        ended: list[AuditError] = []

        async def write() -> None:
            try:
                await log.flush()
            except AuditError as error:
                ended.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(_end_wait_when_cancelled, log)
            group.start_soon(write)
            await anyio.sleep(0.05)
            assert ended == []
            group.cancel_scope.cancel()
        assert "no answer for" in str(ended[0])
        log.close()


async def test_the_first_records_of_a_submitted_run_wait_for_the_database_beside_the_other_tasks(
    open_store: OpenProcess, cluster: Cluster, database: str, connect: Connect
) -> None:
    """A worker with a run at its beginning still sweeps, ends its runs and says so during an outage."""
    holder = Holder(connect("wes_worker"))
    holder.submit(ONE)
    holder.submit(TWO)
    with start_proxy(cluster.folder, cluster.port) as proxy:
        url = f"postgresql://oli_operator@127.0.0.1:{proxy.port}/{database}"
        store, impatient = open_store(url=url, outage=60.0), open_store(url=url, outage=0.1)
        for each, run_id in ((store, ONE), (impatient, TWO)):
            assert each.thread.take(run_id, "person") is not None
        proxy.break_off()
        seen: list[Record] = []
        async with anyio.create_task_group() as group:
            group.start_soon(store.begin_log, ONE, FIRST, [seen.append])
            with pytest.raises(AuditError, match="can't be reached"):
                await impatient.begin_log(TWO, FIRST)
            assert seen == []
            proxy.is_down = False
        assert [record["event"] for record in seen] == ["run.started", "run.planned"]
    assert [state_of(open_store(), run_id)[0] for run_id in (ONE, TWO)] == ["ready", "ready"]


async def test_a_run_whose_claims_are_lost_sends_and_writes_nothing_more(open_store: OpenProcess) -> None:
    store = open_store()
    log = store.create_log(ONE, FIRST)
    lease = store.thread.find_lease(ONE)
    assert lease is not None
    lost: list[str] = []
    lease.when_lost(lambda: lost.append(ONE))
    store.thread._lose(TWO)
    assert log.backing.permit is not None
    assert log.backing.permit.may_send()
    store.thread._lose(ONE)
    assert not log.backing.permit.may_send()
    log.record(Event.NOTICE)
    with pytest.raises(AuditError, match="took the run over"):
        await log.flush()
    assert (lost, len(read_all(store)), store.thread.find_lease(ONE)) == ([ONE], 2, None)
    log.close()


async def test_a_mirror_named_by_its_path_is_the_run_of_the_store(open_store: OpenProcess) -> None:
    mine = open_store()
    log = mine.create_log(ONE, FIRST)
    read_all(mine)
    with pytest.raises(RunHeldError):
        open_store(folder="host-1").find_run(str(mine.path_of(ONE))).open_log(ignore_record)
    log.close()


def test_prepare_refuses_a_database_that_could_lose_commits(open_store: OpenProcess) -> None:
    with pytest.raises(SettingsError, match="fsync is off"):
        open_store().prepare()


async def test_a_fleet_run_is_a_log_beside_the_runs_and_is_finished_by_its_last_record(open_store: OpenProcess) -> None:
    runs = open_store(folder="host")
    fleets = StoreFleetStore(StoreRunStore(runs.thread, runs.folder.parent, None, (50.0, 10), "ann@host"))
    fleet_id = f"fleet-{ONE}"
    runs.create_log(TWO, FIRST).close()
    log = fleets.create_log(fleet_id, [(FleetEvent.FLEET_STARTED, {"workspaces": ["prod"]})])
    assert fleets.get_fleet(fleet_id).is_locked()
    log.record(FleetEvent.FLEET_FINISHED, exit_code=7, ending="completed")
    await log.flush()
    log.close()
    assert state_of(runs, fleet_id) == ("finished", 7, False, True)
    assert [fleet.run_id for fleet in fleets.list_fleets()] == [fleet_id]
    assert [run.run_id for run in runs.list_runs()] == [TWO]
    assert fleets.find_fleet("fleet-2026").run_id == fleet_id
    assert read_run(fleets.get_fleet(fleet_id)).verdict is not Verdict.ALTERED


async def test_two_processes_of_one_name_never_hold_one_run(open_store: OpenProcess) -> None:
    first, second = open_store(), open_store()
    second.thread.terms = replace(second.thread.terms, holder=first.thread.terms.holder)
    log = first.create_log(ONE, FIRST)
    with pytest.raises(RunHeldError):
        second.get_run(ONE).open_log(ignore_record)
    log.close()
    other, _ = second.get_run(ONE).open_log(ignore_record)
    with pytest.raises(RunHeldError):
        first.get_run(ONE).open_log(ignore_record)
    other.close()


@pytest.mark.parametrize("minutes", [-7, 7])
async def test_a_machine_with_a_wrong_clock_records_the_time_of_the_database(
    open_store: OpenProcess, minutes: int
) -> None:
    store = open_store()
    store.thread.query("SELECT 1")
    store.thread._offset += 60 * minutes  # as for a database with another time than this machine
    store.create_log(ONE, FIRST).close()
    recorded = parse_timestamp(json.loads(next(iter(store.get_run(ONE).read_lines())))["ts"])
    assert abs(recorded.timestamp() - time.time() - 60 * minutes) < 60
