"""Migrations of the team store."""

import re
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from orchestrator.errors import SettingsError
from orchestrator.postgres.migrate import (
    Migration,
    SchemaVersion,
    check_version,
    format_sql,
    list_migrations,
    migrate,
    read_version,
)
from tests.postgres.cluster import Cluster
from tests.postgres.conftest import Connect
from tests.postgres.holder import RUN, Fence, Holder, require

MIGRATIONS = list_migrations()
NEWEST = MIGRATIONS[-1].version
NEXT = Migration(NEWEST + 1, "a_note", 1, "ALTER TABLE workers ADD COLUMN note text;\n")


def describe(cluster: Cluster, database: str) -> list[tuple[object, ...]]:
    """Every column, function and right of the schema."""
    with psycopg.connect(cluster.admin_url(database)) as connection:
        return connection.execute(
            "SELECT attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod), relacl::text,"
            " relowner::regrole::text"
            " FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
            " WHERE relnamespace = 'orchestrator'::regnamespace AND attnum > 0 UNION ALL"
            " SELECT oid::regprocedure::text, md5(prosrc), prosecdef::text, proacl::text, proowner::regrole::text"
            " FROM pg_proc WHERE pronamespace = 'orchestrator'::regnamespace ORDER BY 1, 2"
        ).fetchall()


def test_versions_count_from_one_without_a_gap_and_need_no_newer_client_than_themselves() -> None:
    assert [each.version for each in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert all(1 <= each.oldest_client <= each.version for each in MIGRATIONS)


@pytest.mark.parametrize("version", range(NEWEST + 1))
def test_a_migration_from_every_earlier_version_ends_in_the_same_schema_and_disturbs_no_running_worker(
    cluster: Cluster, empty_database: str, version: int
) -> None:
    url = cluster.admin_url(empty_database)
    with psycopg.connect(url, autocommit=True) as connection, psycopg.connect(url, autocommit=True) as running:
        migrate(connection, MIGRATIONS[:version])
        assert read_version(connection).version == version
        worker, fence = Holder(running), Fence(RUN, 0, uuid.uuid4())
        if version:  # a worker of the earlier version has a run, with prepared statements
            worker.submit()
            fence = require(worker.take())
            for seq in range(1, 8):
                append_one(worker, fence, seq)
        assert migrate(connection) == list(MIGRATIONS[version:])
        if version:
            append_one(worker, fence, 8)
            assert worker.renew(fence) == [(RUN, None)]
            assert worker.let_go(fence, "finished", 0)
        assert migrate(connection) == []
        assert read_version(connection) == SchemaVersion(NEWEST, MIGRATIONS[-1].oldest_client)
    assert describe(cluster, empty_database) == describe(cluster, "template_store")


def append_one(worker: Holder, fence: Fence, seq: int) -> None:
    """Append one record."""
    head = "0" * 64 if seq == 1 else f"{seq - 1:064}"
    assert worker.append(fence, seq, after=seq - 1, head=head, new_head=f"{seq:064}") == ("ok", None)


def test_two_migrations_at_the_same_time_apply_each_step_once(cluster: Cluster, empty_database: str) -> None:
    def apply(_: int) -> int:
        with psycopg.connect(cluster.admin_url(empty_database), autocommit=True) as connection:
            return len(migrate(connection, (*MIGRATIONS, NEXT)))

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(apply, range(3))) == [0, 0, NEWEST + 1]


def test_a_failed_migration_changes_nothing(cluster: Cluster, empty_database: str) -> None:
    broken = replace(NEXT, sql="CREATE TABLE extra (a int);\nSELECT 1 / 0;\n")
    with psycopg.connect(cluster.admin_url(empty_database), autocommit=True) as connection:
        with pytest.raises(SettingsError, match="division by zero"):
            migrate(connection, (*MIGRATIONS, broken))
        assert read_version(connection).version == 0


def test_the_script_gives_the_same_schema_as_the_command(cluster: Cluster, empty_database: str) -> None:
    command = [str(cluster.binaries / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", cluster.admin_url(empty_database)]
    subprocess.run(command, input=format_sql(), text=True, check=True, capture_output=True)
    assert describe(cluster, empty_database) == describe(cluster, "template_store")
    assert format_sql(NEWEST) == ""
    assert "CREATE ROLE" not in format_sql(NEWEST, (*MIGRATIONS, NEXT))


def test_the_owner_role_can_migrate_later_without_other_rights(cluster: Cluster, own_database: str) -> None:
    url = cluster.admin_url(own_database).replace("postgres@", "ann_owner@")
    with psycopg.connect(url, autocommit=True) as connection:
        assert migrate(connection, (*MIGRATIONS, NEXT)) == [NEXT]


@pytest.mark.parametrize("user", ["wes_worker", "oli_operator", "vic_viewer"])
def test_other_roles_can_read_the_version_and_may_not_migrate(connect: Connect, user: str) -> None:
    assert read_version(connect(user)).version == NEWEST
    with pytest.raises(SettingsError, match="has no rights") as caught:
        migrate(connect(user), (*MIGRATIONS, NEXT))
    assert "store migrate --sql" in (caught.value.hint or "")


def test_a_user_without_rights_gets_the_remedy(connect: Connect) -> None:
    with pytest.raises(SettingsError, match="permission denied for schema orchestrator") as caught:
        read_version(connect("sam_stranger"))
    assert "grant a role to the user" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (SchemaVersion(0, 0), "has no schema"),
        (SchemaVersion(2, 1), "has version 2; this orchestrator needs version 3"),
        (SchemaVersion(3, 1), None),
        (SchemaVersion(5, 3), None),
        (SchemaVersion(5, 4), "has version 5; this orchestrator knows version 3 only"),
    ],
)
def test_a_schema_is_usable_if_no_older_than_the_program_and_open_to_the_program(
    found: SchemaVersion, says: str | None
) -> None:
    if says is None:
        check_version(found, known=3)
    else:
        with pytest.raises(SettingsError, match=re.escape(says)):
            check_version(found, known=3)
