"""Functions for schedules in the schema of the team store: firings, snoozes, pushed playbooks."""

import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Holder, require

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def leader(connect: Connect) -> Holder:
    return Holder(connect("wes_worker"))


@pytest.fixture
def operator(connect: Connect) -> Holder:
    return Holder(connect("oli_operator"))


def submit(leader: Holder, epoch: int, lease_id: uuid.UUID, run_id: str = RUN, before: datetime | None = None) -> str:
    ((verdict,),) = leader.call(
        "submit_firing", epoch, lease_id, run_id, "prod", 5.0, 2, "nightly-stop", NOW, "{}", 1, before, "serve@w1"
    )
    return str(verdict)


def take_duty(leader: Holder) -> tuple[int, uuid.UUID]:
    lease_id = uuid.uuid4()
    ((epoch,),) = leader.call("take_duty", "schedules", lease_id, "w1", "60 s")
    return epoch, lease_id


def test_a_firing_has_one_run_and_one_job_and_only_the_leader_submits(
    leader: Holder, cluster: Cluster, database: str
) -> None:
    epoch, lease_id = take_duty(leader)
    assert submit(leader, epoch, lease_id) == "submitted"
    assert submit(leader, epoch, lease_id) == "exists"
    assert submit(leader, epoch, lease_id, "of-the-same-firing") == "exists"
    assert submit(leader, epoch, uuid.uuid4(), "b") == "fenced"
    assert leader.call("read_firing_run", RUN) == [(False, False, None, None, None, False)]
    with psycopg.connect(cluster.admin_url(database)) as connection:
        jobs = connection.execute("SELECT args->>'run_id' FROM orchestrator.procrastinate_jobs").fetchall()
    assert jobs == [(RUN,)]


def test_a_claim_and_its_run_are_written_together_or_not_at_all(leader: Holder) -> None:
    epoch, lease_id = take_duty(leader)
    claim = ("{}", RUN, "prod", 5.0, 2, "nightly-stop", NOW, "{}", 1, None, "serve@w1")
    assert leader.call("claim_firing", epoch, uuid.uuid4(), 1, *claim) == [(False,)]
    with pytest.raises(psycopg.errors.CheckViolation):
        leader.call("claim_firing", epoch, lease_id, 1, *claim[:3], -1.0, *claim[4:])
    assert leader.call("read_journal", 0) == []
    assert leader.call("read_firing_run", RUN) == []
    assert leader.call("claim_firing", epoch, lease_id, 1, *claim) == [(True,)]
    assert len(leader.call("read_journal", 0)) == len(leader.call("read_firing_run", RUN)) == 1


def test_a_late_firing_is_never_taken_and_the_leader_gives_up_on_firings_without_a_holder_only(leader: Holder) -> None:
    epoch, lease_id = take_duty(leader)
    now = datetime.now(UTC)
    submit(leader, epoch, lease_id, before=now - DAY)
    assert leader.take() is None
    assert leader.call("read_firing_run", RUN)[0][:2] == (True, False)
    assert leader.call("give_up_firing", epoch, uuid.uuid4(), RUN, 5, "late") == [(False,)]
    assert leader.call("give_up_firing", epoch, lease_id, RUN, 5, "late") == [(True,)]
    assert leader.call("give_up_firing", epoch, lease_id, RUN, 5, "late") == [(False,)]
    ((is_late, is_left, code, reason, finished_at, is_unsent),) = leader.call("read_firing_run", RUN)
    assert (is_late, is_left, code, reason, is_unsent) == (False, False, 5, "late", True)
    assert leader.call("retry_firing", epoch, lease_id, RUN) == [(False,)], "too late"
    assert finished_at >= now


def test_a_firing_that_ended_without_a_record_starts_again(leader: Holder) -> None:
    epoch, lease_id = take_duty(leader)
    submit(leader, epoch, lease_id, before=datetime.now(UTC) + DAY)
    fence = require(leader.take())
    assert leader.let_go(fence, "void", 5)
    assert leader.call("retry_firing", epoch, uuid.uuid4(), RUN) == [(False,)]
    assert leader.call("retry_firing", epoch, lease_id, RUN) == [(True,)]
    assert leader.call("retry_firing", epoch, lease_id, RUN) == [(False,)]
    fence = require(leader.take())
    leader.append(fence, 1)
    leader.let_go(fence, "void", 5)
    assert leader.call("retry_firing", epoch, lease_id, RUN) == [(False,)], "a run with a record is never begun again"


def test_a_firing_in_time_is_taken_and_stays_with_workers_after_its_time(
    leader: Holder, cluster: Cluster, database: str
) -> None:
    epoch, lease_id = take_duty(leader)
    submit(leader, epoch, lease_id, before=datetime.now(UTC) + DAY)
    assert leader.take() is not None
    assert leader.call("give_up_firing", epoch, lease_id, RUN, 5, "late") == [(False,)]
    cluster.execute("UPDATE orchestrator.runs SET start_before = 'epoch', lease_until = clock_timestamp()", database)
    fence = leader.take()
    assert fence is not None
    assert fence.epoch == 2
    assert leader.call("read_firing_run", RUN)[0][:2] == (False, False)


def test_a_run_that_no_worker_continues_is_left(
    leader: Holder, operator: Holder, cluster: Cluster, database: str
) -> None:
    epoch, lease_id = take_duty(leader)
    submit(leader, epoch, lease_id)
    assert operator.take(how="take_run_for_person") is not None
    assert leader.call("read_firing_run", RUN)[0][:2] == (False, False), "the person carries the run out"
    cluster.execute("UPDATE orchestrator.runs SET lease_until = clock_timestamp()", database)
    assert leader.call("read_firing_run", RUN)[0][:2] == (False, True)
    cluster.execute("UPDATE orchestrator.runs SET adopt = true, state = 'left'", database)
    assert leader.call("read_firing_run", RUN)[0][:2] == (False, True)


def test_the_journal_is_read_from_the_last_snapshot_on(leader: Holder) -> None:
    assert leader.call("read_journal_tail") == []
    epoch, lease_id = take_duty(leader)
    for number, event in enumerate(("enabled", "snapshot", "fired", "snapshot", "fired"), start=1):
        leader.call("append_journal", epoch, lease_id, number, f'{{"event": "{event}"}}')
    assert [seq for seq, _ in leader.call("read_journal_tail")] == [4, 5]


def test_the_holder_of_a_duty_is_known_to_everybody(leader: Holder, connect: Connect) -> None:
    assert leader.call("read_duty", "schedules") == []
    take_duty(leader)
    ((epoch, holder, until, now),) = Holder(connect("vic_viewer")).call("read_duty", "schedules")
    assert (epoch, holder) == (1, "w1")
    assert timedelta(seconds=50) < until - now < timedelta(seconds=61)


def push(
    operator: Holder, *files: tuple[str, str, str], calendars: dict[str, bytes] | None = None, prune: bool = False
) -> set[tuple[str, str]]:
    """Push files of name, file name and source; return the changes."""
    names, paths, sources = zip(*files, strict=True) if files else ((), (), ())
    calendars = calendars or {}
    rows = operator.connection.execute(
        "SELECT name, change FROM orchestrator.push_playbooks"
        "(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::bytea[], %s, %s)",
        [
            *(list(names), list(paths), [each.encode() for each in sources], list(sources)),
            *(list(calendars), list(calendars.values()), prune, "ann@host"),
        ],
    ).fetchall()
    return set(rows)


def read_playbooks(holder: Holder) -> list[tuple[str, str, bytes]]:
    return [row[:3] for row in holder.call("read_playbooks")]


def test_a_push_adds_changes_keeps_and_removes(operator: Holder, leader: Holder) -> None:
    assert push(operator, ("a", "a.yaml", "1"), ("b", "b.yaml", "1"), calendars={"days.ics": b"x"}) == {
        *(("a", "added"), ("b", "added"), ("days.ics", "added"))
    }
    ((first,),) = leader.call("read_last_push")
    assert push(operator, ("a", "a.yaml", "1"), ("b", "b.yaml", "1"), calendars={"days.ics": b"x"}) == {
        *(("a", "unchanged"), ("b", "unchanged"), ("days.ics", "unchanged"))
    }
    assert leader.call("read_last_push") == [(first,)]
    assert push(operator, ("a", "a.yaml", "2"), calendars={"days.ics": b"y"}) == {
        *(("a", "changed"), ("b", "kept"), ("days.ics", "changed"))
    }
    assert read_playbooks(leader) == [("a", "a.yaml", b"2"), ("b", "b.yaml", b"1")]
    assert leader.call("read_calendars") == [("days.ics", b"y")]
    assert push(operator, ("a", "a.yaml", "2"), prune=True) == {
        *(("a", "unchanged"), ("b", "removed"), ("days.ics", "removed"))
    }
    assert leader.call("read_last_push") > [(first,)]
    assert leader.call("read_calendars") == []


def test_a_file_with_another_name_inside_replaces_its_playbook_and_two_files_may_swap(operator: Holder) -> None:
    push(operator, ("a", "a.yaml", "1"), ("b", "b.yaml", "1"))
    assert push(operator, ("c", "a.yaml", "1")) == {("a", "removed"), ("b", "kept"), ("c", "added")}
    push(operator, ("c", "b.yaml", "1"), ("b", "a.yaml", "1"))
    assert [row[:2] for row in read_playbooks(operator)] == [("b", "a.yaml"), ("c", "b.yaml")]


def test_a_push_of_nothing_removes_only_with_prune(operator: Holder) -> None:
    push(operator, ("a", "a.yaml", "1"))
    assert push(operator) == {("a", "kept")}
    assert push(operator, prune=True) == {("a", "removed")}
    assert push(operator, prune=True) == set()


def test_the_history_of_pushes_names_the_person_and_cannot_be_changed(
    operator: Holder, cluster: Cluster, database: str
) -> None:
    push(operator, ("a", "a.yaml", "1"))
    rows = operator.connection.execute("SELECT changes, pushed_by, db_user FROM orchestrator.pushes").fetchall()
    assert rows == [({"added": ["a"]}, "ann@host", "oli_operator")]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        cluster.execute("DELETE FROM orchestrator.pushes", database)
