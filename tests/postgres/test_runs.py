"""Runs in the team store: takes, fences, logs, ends. Every claim over the functions of the schema alone."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import GENESIS, RUN, Fence, Holder, require

Start = Callable[[str], Holder]


@pytest.fixture
def start(connect: Connect) -> Start:
    """Start a holder as a user."""
    return lambda user: Holder(connect(user))


@pytest.fixture
def worker(start: Start) -> Holder:
    return start("wes_worker")


@pytest.fixture
def operator(start: Start) -> Holder:
    return start("oli_operator")


@pytest.fixture
def change(cluster: Cluster, database: str) -> Callable[[str], None]:
    """Change all runs as the superuser, such as to let their leases expire."""
    statement = "UPDATE orchestrator.runs SET {}"
    return lambda changes: cluster.execute(statement.format(changes), database)


EXPIRE = "lease_until = clock_timestamp() - interval '1 ms'"


def state_of(holder: Holder, columns: str = "state, exit_code, reason") -> tuple[object, ...]:
    row = holder.connection.execute(b"SELECT %b FROM orchestrator.runs" % columns.encode()).fetchone()
    assert row is not None
    return row


def test_a_run_and_a_firing_are_submitted_once(worker: Holder) -> None:
    firing = "2026-11-26T22:00:00Z"
    assert [worker.submit("a", planned=firing), worker.submit("a"), worker.submit("b", planned=firing)] == [
        *(True, False, False)
    ]
    assert worker.submit("b", planned=firing, workspace="dev")


def test_of_many_takers_one_wins(worker: Holder, start: Start) -> None:
    worker.submit()
    takers = [start("wes_worker") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        won = [fence for fence in pool.map(Holder.take, takers) if fence]
    assert [fence.epoch for fence in won] == [1]
    assert worker.take() is None


def test_after_the_lease_another_worker_takes_and_the_former_holder_is_fenced(
    worker: Holder, start: Start, change: Callable[[str], None]
) -> None:
    worker.submit()
    first = require(worker.take())
    assert worker.append(first, 2) == ("ok", None)
    change(EXPIRE)
    second = require(start("wes_worker").take())
    assert second.epoch == 2
    assert worker.append(first, 3, after=2, head="a" * 64) == ("fenced", None)
    assert worker.renew(first) == []
    assert worker.let_go(first, "finished", 0) is False
    assert worker.call("take_turns", "prod", *first, 1, "0 s") == []
    assert worker.append(second, 3, after=2, head="a" * 64, new_head="b" * 64) == ("ok", None)
    assert [bytes(line) for _, line in worker.call("read_records", RUN, 1)] == [b"2\n", b"3\n"]


def test_an_expired_lease_that_nobody_took_goes_on(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    fence = require(worker.take())
    change(EXPIRE)
    assert worker.append(fence, 1) == ("ok", None)
    assert worker.take() is None


def test_the_same_batch_again_is_already_there_and_another_end_is_lost(worker: Holder) -> None:
    worker.submit()
    fence = require(worker.take())
    assert worker.append(fence, 2) == ("ok", None)
    assert worker.append(fence, 2) == ("already", None)
    assert worker.append(fence, 2, new_head="b" * 64) == ("lost", None)
    assert worker.append(fence, 5, after=4, head="a" * 64) == ("lost", None)
    assert len(worker.call("read_records", RUN, 0)) == 2


def test_my_own_commit_still_in_progress_counts_as_already_there(worker: Holder, start: Start) -> None:
    """The answer was lost with the connection, and the server commits while the batch is tried again."""
    worker.submit()
    fence = require(worker.take())
    again = start("wes_worker")
    with ThreadPoolExecutor(1) as pool:
        with worker.connection.transaction():
            assert worker.append(fence, 1) == ("ok", None)
            retried = pool.submit(again.append, fence, 1)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s"
            watch = start("wes_worker").connection
            while watch.execute(waiting, [again.connection.info.backend_pid]).fetchone() != (1,):
                pass
        assert retried.result(timeout=10) == ("already", None)


def test_one_statement_appends_to_many_runs_each_with_its_own_verdict(worker: Holder) -> None:
    fences = []
    for name in ("a", "b", "c"):
        worker.submit(name)
        fences.append(require(worker.take(name)))
    a, b, c = fences
    stranger = Fence("c", c.epoch, uuid.uuid4())
    rows = worker.append_all([(x, 0, GENESIS, 1, "a" * 64) for x in (b, stranger, a, Fence("none", 1, uuid.uuid4()))])
    assert sorted(row[:2] for row in rows) == [("a", "ok"), ("b", "ok"), ("c", "fenced"), ("none", "fenced")]
    assert sorted(row[0] for row in worker.renew(*fences, stranger)) == ["a", "b", "c"]


def test_two_writers_of_the_same_runs_in_another_order_never_block_each_other_for_good(
    worker: Holder, start: Start
) -> None:
    fences = []
    for name in ("a", "b", "c"):
        worker.submit(name)
        fences.append(require(worker.take(name)))
    wrong = [fence._replace(lease_id=uuid.uuid4()) for fence in fences]

    def write(holder: Holder, order: int) -> None:
        for _ in range(60):
            assert len(holder.renew(*fences[::order])) == 3
            rows = holder.append_all([(fence, 0, GENESIS, 1, "a" * 64) for fence in wrong[::order]])
            assert {row[1] for row in rows} == {"fenced"}

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [worker, start("wes_worker")], [1, -1]))


def test_a_run_begins_in_no_other_state_than_planning_or_ready(worker: Holder) -> None:
    worker.call("set_budget", "prod", 1.0, 1)
    for state in ("finished", "void", "left", None):
        with pytest.raises(psycopg.errors.NotNullViolation):
            worker.call("submit_run", RUN, "prod", "nightly", None, "{}", 1, 0, state, True, "ann@host")


def test_a_batch_with_a_number_that_exists_changes_nothing(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    fence = require(worker.take())
    worker.append(fence, 2)
    change(f"seq = 0, head = '{GENESIS}'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        worker.append(fence, 1)
    assert len(worker.call("read_records", RUN, 0)) == 2


def test_a_take_that_ends_in_order_with_a_wait_does_not_count_as_a_take_without_a_record(
    worker: Holder, change: Callable[[str], None]
) -> None:
    worker.submit()
    for _ in range(7):
        assert worker.let_go(require(worker.take()), wait="30 s")
        assert worker.take() is None, "nobody takes the run during the wait"
        change("not_before = 'epoch'")
    assert worker.take() is not None


def test_five_takes_without_a_record_leave_the_run_to_a_person(
    worker: Holder, operator: Holder, change: Callable[[str], None]
) -> None:
    worker.submit()
    for epoch in range(1, 6):
        assert require(worker.take()).epoch == epoch
        change(EXPIRE)
    assert worker.take() is None
    assert state_of(operator) == ("left", None, "taken 5 times without a record")
    assert worker.call("list_free_runs", ["prod"], 1) == []
    fence = require(operator.take(how="take_run_for_person"))
    assert (fence.epoch, state_of(operator)[0]) == (6, "ready")
    assert operator.append(fence, 1) == ("ok", None)


def test_a_record_counts_as_progress(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    head = GENESIS
    for seq in range(7):
        fence = require(worker.take())
        assert worker.append(fence, seq + 1, after=seq, head=head, new_head=f"{seq:064}") == ("ok", None)
        head = f"{seq:064}"
        change(EXPIRE)


def test_a_worker_continues_no_interrupted_run_of_a_person_and_a_person_does(worker: Holder, operator: Holder) -> None:
    operator.submit(adopt=False)
    operator.let_go(require(operator.take()))
    assert worker.call("list_free_runs", ["prod"], 1) == []
    assert worker.take() is None
    fence = require(operator.take(how="take_run_for_person"))
    assert fence.epoch == 2
    assert operator.take(how="take_run_for_person") is None


def test_a_run_taken_by_a_person_is_continued_by_persons_only(worker: Holder, operator: Holder) -> None:
    worker.submit()
    worker.let_go(require(worker.take()), wait="1 h")
    operator.let_go(require(operator.take(how="take_run_for_person")))
    assert worker.take() is None
    assert operator.take(how="take_run_for_person") is not None


def test_a_finished_run_gets_further_records_under_a_short_lease_only(worker: Holder, operator: Holder) -> None:
    worker.submit()
    fence = require(worker.take())
    worker.append(fence, 1)
    assert worker.take(how="take_finished_run") is None
    assert worker.let_go(fence, "finished", 6) is True
    assert (worker.take(), operator.take(how="take_run_for_person")) == (None, None)
    assert worker.append(fence, 2, after=1, head="a" * 64) == ("fenced", None)
    sealing = require(worker.take(how="take_finished_run", lease="10 s"))
    assert worker.take(how="take_finished_run") is None
    assert worker.append(sealing, 2, after=1, head="a" * 64, new_head="b" * 64) == ("ok", None)
    assert worker.let_go(sealing, "ready") is False
    assert worker.let_go(sealing) is True
    assert state_of(operator, "state, exit_code, seq, finished_at IS NULL") == ("finished", 6, 2, False)


def test_a_run_waits_as_long_as_its_holder_said(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    assert worker.let_go(require(worker.take()), wait="1 h") is True
    assert (worker.take(), worker.call("list_free_runs", ["prod"], 1)) == (None, [])
    change("not_before = clock_timestamp()")
    assert worker.call("list_free_runs", ["dev", "prod"], 1) == [(RUN, "prod", 0)]
    assert worker.call("list_free_runs", ["dev"], 1) == []
    assert require(worker.take()).epoch == 2


def test_a_worker_leaves_a_run_of_a_later_format_alone(worker: Holder) -> None:
    worker.submit()
    assert (worker.take(form=0), worker.call("list_free_runs", ["prod"], 0)) == (None, [])
    assert worker.take(form=2) is not None


def test_cancelling_reaches_the_holder_and_never_becomes_gentler(worker: Holder, operator: Holder) -> None:
    worker.submit()
    fence = require(worker.take())
    cancelled = [operator.call("cancel_run", RUN, at_once, "ann@host") for at_once in (False, True, False)]
    assert cancelled == [[(True,)]] * 3
    assert worker.append(fence, 1) == ("ok", "at_once")
    assert worker.renew(fence) == [(RUN, "at_once")]
    worker.let_go(fence, "finished", 8)
    assert operator.call("cancel_run", RUN, False, "ann@host") == [(False,)]


def test_no_timestamp_of_a_run_is_infinite(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    for column in ("not_before", "lease_until"):
        for value in ("-infinity", "infinity"):
            with pytest.raises(psycopg.errors.CheckViolation):
                change(f"{column} = '{value}'")


def test_the_first_answer_counts_and_each_key_signs_once(worker: Holder, operator: Holder) -> None:
    worker.submit()
    answers = [operator.call("submit_answer", RUN, "q", 3, "look", yes, "ann@host", None) for yes in (True, False)]
    assert answers == [[(True,)], [(False,)]]
    ((*_, approved, by, _, db_user, _),) = worker.call("read_answers", RUN, "q")
    assert (approved, by, db_user) == (True, "ann@host", "oli_operator")
    expiry = "2026-11-27T00:00:00Z"
    signed = [
        operator.call("submit_signed_answer", RUN, "q", key, 3, True, "c2ln", expiry, "ann@host", None)
        for key in ("ann", "ben", "ann")
    ]
    assert signed == [[(True,)], [(True,)], [(False,)]]
    assert [row[2] for row in worker.call("read_signed_answers", RUN, "q")] == ["ann", "ben"]


def test_a_duty_has_one_holder_and_the_journal_takes_lines_of_that_holder_only(
    worker: Holder, cluster: Cluster, database: str
) -> None:
    mine, other = uuid.uuid4(), uuid.uuid4()
    assert worker.call("take_duty", "schedules", mine, "w1", "60 s") == [(1,)]
    assert worker.call("take_duty", "schedules", other, "w2", "60 s") == []
    assert worker.call("take_duty", "schedules", mine, "w1", "60 s") == [(1,)]
    assert worker.call("append_journal", 1, mine, 1, '{"event": "fired"}') == [(True,)]
    cluster.execute("UPDATE orchestrator.leases SET lease_until = clock_timestamp()", database)
    assert worker.call("take_duty", "schedules", other, "w2", "60 s") == [(2,)]
    assert worker.call("append_journal", 1, mine, 2, "{}") == [(False,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        worker.call("append_journal", 2, other, 1, "{}")
    assert worker.call("let_go_duty", "schedules", 2, other) == [(True,)]
    assert worker.call("take_duty", "schedules", mine, "w1", "60 s") == [(3,)]
    assert worker.call("read_journal", 0) == [(1, {"event": "fired"})]


def waiting_jobs(cluster: Cluster, database: str) -> list[tuple[str, str]]:
    """Queue and run of every waiting job."""
    with psycopg.connect(cluster.admin_url(database)) as connection:
        return connection.execute(
            "SELECT queue_name, args->>'run_id' FROM orchestrator.procrastinate_jobs WHERE status = 'todo' ORDER BY id"
        ).fetchall()


def test_the_sweep_queues_every_free_run_of_known_workspaces_once(
    worker: Holder, cluster: Cluster, database: str
) -> None:
    for run_id, workspace in (("a", "prod"), ("b", "prod"), ("c", "dev"), ("d", "other")):
        worker.submit(run_id, workspace=workspace)
    assert worker.call("queue_run", "a") == [(True,)]
    assert worker.call("queue_run", "a") == [(False,)]
    require(worker.take("b"))
    assert worker.call("queue_free_runs", ["prod", "dev"], 1) == [("c",)]
    assert worker.call("queue_free_runs", ["prod", "dev"], 1) == []
    assert waiting_jobs(cluster, database) == [("ws.prod", "a"), ("ws.dev", "c")]


def test_a_job_stuck_with_a_dead_worker_or_deleted_is_replaced(worker: Holder, cluster: Cluster, database: str) -> None:
    worker.submit()
    for change in ("UPDATE {} SET status = 'doing'", "DELETE FROM {}"):
        worker.call("queue_free_runs", ["prod"], 1)
        cluster.execute(change.format("orchestrator.procrastinate_jobs"), database)
        assert worker.call("queue_free_runs", ["prod"], 1) == [(RUN,)]


def test_an_older_worker_leaves_a_newer_run_alone(worker: Holder, change: Callable[[str], None]) -> None:
    worker.submit()
    change("format = 2")
    assert worker.call("queue_free_runs", ["prod"], 1) == []
    assert worker.take(form=1) is None
    assert worker.call("queue_free_runs", ["prod"], 2) == [(RUN,)]


def test_a_cancelled_run_without_a_log_ends_at_once(worker: Holder, operator: Holder) -> None:
    worker.submit()
    assert operator.call("cancel_run", RUN, False, "oli@host") == [(True,)]
    assert state_of(operator) == ("void", 8, "cancelled by oli@host before the first request")
    assert worker.take() is None
    assert operator.call("cancel_run", RUN, False, "oli@host") == [(False,)]


def test_the_holder_of_a_cancelled_run_learns_who_cancelled(worker: Holder, operator: Holder) -> None:
    worker.submit()
    fence = require(worker.take())
    assert worker.call("list_stops", "w1") == []
    operator.call("cancel_run", RUN, True, "oli@host")
    operator.call("cancel_run", RUN, False, "ann@host")
    assert worker.call("list_stops", "w1") == [(RUN, "at_once", "oli@host")]
    assert state_of(operator, "state, finished_at") == ("ready", None)
    worker.append(fence, 1)
    worker.let_go(fence)
    assert operator.call("cancel_run", RUN, False, "ann@host") == [(True,)]
    assert require(worker.take()).epoch == 2


def test_a_run_has_the_name_of_its_submitter_from_the_caller_and_from_the_database(worker: Holder) -> None:
    worker.submit()
    ((by, user, _, stopper),) = worker.call("read_submission", RUN)
    assert (by, user, stopper) == ("ann@host", "wes_worker", None)


def test_a_worker_is_forgotten_when_it_ends(worker: Holder, operator: Holder) -> None:
    for name in ("w1", "w2"):
        worker.call("record_worker", name, "1.0", 1, ["prod"])
    worker.call("forget_worker", "w1")
    assert operator.connection.execute("SELECT holder FROM orchestrator.workers").fetchall() == [("w2",)]
