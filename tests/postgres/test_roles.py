"""Rights of the roles of the team store."""

import psycopg
import pytest

from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Holder, require

RUN_FUNCTIONS = {
    *("read_api_profile", "write_api_profile"),
    *("set_budget", "take_turns", "pause_workspace", "submit_run", "take_run", "take_finished_run", "append_records"),
    *("renew_leases", "let_go_run", "list_free_runs", "read_records", "read_answers", "read_signed_answers"),
    *("take_duty", "let_go_duty", "append_journal", "read_journal", "record_worker", "read_version"),
    "use_plan",
}
QUEUE_FUNCTIONS = {"queue_run", "queue_free_runs", "read_submission", "list_stops", "forget_worker"}
SCHEDULE_FUNCTIONS = {"submit_firing", "claim_firing", "give_up_firing", "retry_firing"}
SCHEDULE_READS = {
    *("read_duty", "read_journal_tail", "read_firing_run", "read_snoozes", "read_last_push", "read_playbooks"),
    "read_calendars",
    "read_keeps",
}
CLAIM_FUNCTIONS = {"claim_cvms", "narrow_claim", "renew_claims", "release_claim", "is_any_claim_live"}
FLEET_FUNCTIONS = {"submit_fleet", "list_members", "report_plan", "give_verdict", "read_verdict"}
LOG_READS = {"read_runs", "read_records", "hash_records"}
RUN_FUNCTIONS |= CLAIM_FUNCTIONS | LOG_READS | FLEET_FUNCTIONS | {"begin_run"}
JOB_FUNCTIONS = {
    *("procrastinate_fetch_job_v2", "procrastinate_finish_job_v1", "procrastinate_register_worker_v1"),
    *("procrastinate_unregister_worker_v1", "procrastinate_update_heartbeat_v1"),
    "procrastinate_prune_stalled_workers_v1",
}
DECISIONS = {"take_run_for_person", "cancel_run", "submit_answer", "withdraw_answer", "submit_signed_answer"}
DECISIONS |= {"set_snooze", "clear_snooze", "push_playbooks", "add_keeps", "remove_keeps"}


def list_functions(connection: "psycopg.Connection") -> set[str]:
    """Functions of the schema that the user may call."""
    rows = connection.execute(
        "SELECT proname::text FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace"
        " WHERE nspname = 'orchestrator' AND has_function_privilege(pg_proc.oid, 'execute')"
    ).fetchall()
    return {name for (name,) in rows}


def list_tables(connection: "psycopg.Connection", privilege: str) -> set[str]:
    """Tables of the schema for which the user has a privilege, or for one of the columns of which."""
    rows = connection.execute(
        "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'orchestrator'"
        " AND relkind IN ('r', 'v', 'm', 'S', 'p') AND (has_table_privilege(pg_class.oid, %(name)s)"
        " OR %(name)s IN ('select', 'insert', 'update') AND has_any_column_privilege(pg_class.oid, %(name)s))",
        {"name": privilege},
    ).fetchall()
    return {name for (name,) in rows}


TABLES = {
    *("meta", "migrations", "workspaces", "runs", "records", "answers", "signed_answers", "leases", "journal"),
    *("workers", "snoozes", "pushes", "playbooks", "calendars", "claims", "keeps", "plan_uses"),
}


@pytest.mark.parametrize(
    ("user", "readable", "callable_"),
    [
        ("wes_worker", set(), RUN_FUNCTIONS | QUEUE_FUNCTIONS | JOB_FUNCTIONS | SCHEDULE_FUNCTIONS | SCHEDULE_READS),
        ("oli_operator", TABLES, RUN_FUNCTIONS | QUEUE_FUNCTIONS | SCHEDULE_FUNCTIONS | SCHEDULE_READS | DECISIONS),
        ("vic_viewer", TABLES, SCHEDULE_READS | LOG_READS | {"read_version", "read_api_profile"}),
        ("sam_stranger", set(), set()),
    ],
)
def test_each_role_has_its_own_rights_and_no_further_right(
    connect: Connect, user: str, readable: set[str], callable_: set[str]
) -> None:
    connection = connect(user)
    assert list_tables(connection, "select") == readable
    for privilege in ("insert", "update", "delete", "truncate", "references", "trigger"):
        assert list_tables(connection, privilege) == set()
    assert list_functions(connection) == callable_
    assert connection.execute(
        "SELECT coalesce(bool_or(has_schema_privilege(n.oid, 'create')), false) FROM pg_namespace n"
        " WHERE nspname = 'orchestrator'"
    ).fetchone() == (False,)


STATEMENTS = (
    "INSERT INTO orchestrator.meta VALUES (true, 9, 9)",
    "UPDATE orchestrator.runs SET lease_until = NULL",
    "DELETE FROM orchestrator.answers",
    "TRUNCATE orchestrator.records",
    "CREATE TABLE orchestrator.mine (a int)",
    "CREATE OR REPLACE FUNCTION orchestrator.read_version() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP SCHEMA orchestrator CASCADE",
    "SET ROLE orchestrator_owner",
    "ALTER ROLE orchestrator_worker SUPERUSER",
)


def test_statements_beside_the_functions_are_refused(connect: Connect) -> None:
    for user in ("wes_worker", "oli_operator", "vic_viewer", "sam_stranger"):
        connection = connect(user)
        for statement in STATEMENTS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_even_the_owner_and_the_superuser_change_no_record(connect: Connect) -> None:
    for user in ("ann_owner", "postgres"):
        connection = connect(user)
        connection.execute("SET search_path = orchestrator")
        for table in ("records", "journal"):
            for statement in ("UPDATE {} SET seq = 1", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match=f"table {table} is append-only"):
                    connection.execute(statement.format(table).encode())


def test_the_database_attests_the_user_whatever_the_caller_says(connect: Connect) -> None:
    worker = Holder(connect("wes_worker"))
    worker.submit()
    require(worker.take())
    found = connect("vic_viewer").execute("SELECT db_user::text, submitted_by FROM orchestrator.runs").fetchone()
    assert found == ("wes_worker", "ann@host")


def test_objects_of_the_caller_take_no_part_in_the_functions(connect: Connect) -> None:
    """A table or function of the same name in the caller's search path has no effect."""
    worker = Holder(connect("wes_worker"))
    worker.connection.execute("CREATE TEMP TABLE runs (run_id text)")
    worker.connection.execute(
        "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'"
    )
    worker.connection.execute("SET search_path = pg_temp, pg_catalog")
    worker.submit()
    assert worker.append(require(worker.take(RUN)), 1) == ("ok", None)
