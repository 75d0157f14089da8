"""`store check` and `store migrate`, on a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.cli.handlers.store import check_team_store, migrate_store
from orchestrator.errors import SettingsError, UsageError
from orchestrator.postgres.check import check_store, require_durable
from orchestrator.postgres.migrate import list_migrations
from tests.postgres.cluster import PASSWORD, Cluster
from tests.postgres.conftest import set_fsync
from tests.warm import WarmProcess


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


def failures(cluster: Cluster, database: str, user: str = "wes_worker", more: str = "") -> dict[str, str]:
    """Messages of the failed checks, by name."""
    return {check.name: check.message for check in check_store(cluster.url(database, user) + more) if not check.ok}


class Called(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*words: str, url: str | None = None) -> Called:
    """Run the command in the present folder, with a URL of the store in the environment."""
    env = {"HOME": str(Path.cwd()), "PGPASSWORD": PASSWORD, "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    more = {} if url is None else {"ORCHESTRATOR_STORE__URL": url}
    pipe = subprocess.PIPE
    process = WarmProcess(words, cwd=Path.cwd(), env=env | more, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    out, err = process.communicate(timeout=60)
    return Called(process.wait(), out, err)


def test_every_role_passes_and_learns_its_rights(durable: Cluster, database: str) -> None:
    for user, role in (("ann_owner", "owner"), ("wes_worker", "worker"), ("vic_viewer", "viewer")):
        checks = check_store(durable.url(database, user))
        assert [(check.name, check.ok) for check in checks] == [
            (name, True) for name in ("connection", "server", "durability", "schema", "rights")
        ]
        assert checks[-1].message == f"{user} has the rights of: {role}"
        assert f"{user} at 127.0.0.1:{durable.port}, database {database}, no TLS" in checks[0].message


def test_a_database_without_a_schema_names_the_command(durable: Cluster, empty_database: str) -> None:
    assert failures(durable, empty_database) == {
        "schema": "the database has no schema `orchestrator`; run `orchestrator store migrate`"
    }


def test_a_schema_of_another_version_is_refused(durable: Cluster, own_database: str) -> None:
    durable.execute("UPDATE orchestrator.meta SET schema_version = 99, oldest_client = 98", own_database)
    message = failures(durable, own_database)["schema"]
    assert message.startswith("the schema has version 99; this orchestrator knows version")
    assert message.endswith("install a newer orchestrator")


def test_a_user_without_a_role_gets_the_statement_for_an_administrator(durable: Cluster, database: str) -> None:
    found = failures(durable, database, "sam_stranger")
    assert "permission denied for schema orchestrator" in found["schema"]
    assert "GRANT orchestrator_worker TO sam_stranger" in found["rights"]


def test_synchronous_commit_off_is_found_for_the_session_and_for_other_roles(durable: Cluster, database: str) -> None:
    options = "?options=-csynchronous_commit%3Doff"
    assert "synchronous_commit is off: commits can be lost" in failures(durable, database, more=options)["durability"]
    for statement, words in (
        ("ALTER ROLE vic_viewer {} synchronous_commit", "off for vic_viewer"),
        (f"ALTER ROLE oli_operator IN DATABASE {database} {{}} synchronous_commit", "off for oli_operator"),
        (f"ALTER DATABASE {database} {{}} synchronous_commit", "off for every user"),
    ):
        durable.execute(statement.format("SET") + " = off")
        try:
            assert words in failures(durable, database)["durability"]
        finally:
            durable.execute(statement.format("RESET"))
    durable.execute("ALTER ROLE sam_stranger SET synchronous_commit = off")
    try:
        assert failures(durable, database) == {}
    finally:
        durable.execute("ALTER ROLE sam_stranger RESET synchronous_commit")


def test_fsync_off_is_found(cluster: Cluster, database: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("durable")
    set_fsync(cluster, "off")
    try:
        assert "fsync is off: commits can be lost" in failures(cluster, database)["durability"]
    finally:
        set_fsync(cluster, "on")


@pytest.mark.parametrize("value", ["on", "local", "remote_write", "remote_apply"])
def test_every_commit_that_reaches_a_disk_is_durable(value: str) -> None:
    require_durable("on", value, [("ann", value)])


@pytest.mark.parametrize("value", ["off", "false", "no", "0"])
def test_every_spelling_of_off_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="for ann"):
        require_durable("on", "on", [("ann", value)])


def test_the_commands_create_check_and_print_the_schema(
    durable: Cluster, empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setting = (f"store.url={durable.admin_url(empty_database)}",)

    def migrate(*, as_sql: bool = False, as_json: bool = False) -> str:
        migrate_store(None, setting, as_sql=as_sql, as_json=as_json)
        return capsys.readouterr().out

    def check(*, as_json: bool = False) -> tuple[int, str]:
        return check_team_store(None, setting, as_json=as_json), capsys.readouterr().out

    assert "CREATE TABLE runs" in migrate(as_sql=True)
    assert check()[0] == 2
    every = list_migrations()
    newest = every[-1].version
    names = [f"{each.version:03}_{each.name}" for each in every]
    assert json.loads(migrate(as_json=True)) == {"version": newest, "applied": names}
    assert migrate() == f"the schema is up to date: version {newest}\n"
    assert migrate(as_sql=True) == f"-- the schema is up to date: version {newest}\n"
    code, text = check()
    assert (code, len(text.splitlines()) >= 5, max(map(len, text.splitlines())) <= 80) == (0, True, True)
    code, text = check(as_json=True)
    document = json.loads(text)
    assert (code, document["exit_code"], len(document["checks"])) == (0, 0, 5)


def test_an_unreachable_database_is_5_and_a_missing_url_is_2() -> None:
    nowhere = "postgresql://ann@127.0.0.1:9/x"
    checked, migrated = call("store", "check", url=nowhere), call("store", "migrate", url=nowhere)
    assert (checked.code, checked.out[:52]) == (5, "FAILED  connection    store ann@127.0.0.1:9/x can't ")
    assert (migrated.code, "can't be reached" in migrated.err) == (5, True)
    missing = call("store", "check")
    assert (missing.code, "store.url is not set" in missing.err) == (2, True)
    with pytest.raises(UsageError, match="exclude each other"):
        migrate_store(None, (), as_sql=True, as_json=True)


def test_a_script_of_the_whole_schema_needs_no_database() -> None:
    ended = call("store", "migrate", "--sql")
    assert (ended.code, ended.out[:6], ended.out[-8:]) == (0, "BEGIN;", "COMMIT;\n")


def test_without_a_url_no_driver_is_imported() -> None:
    """Every module but the driver's own can be imported, and a command without a store leaves the driver out."""
    code = (
        "import sys; from orchestrator.cli.main import group\n"
        "import orchestrator.cli.handlers.run, orchestrator.cli.handlers.store, orchestrator.runs.stores\n"
        "import orchestrator.postgres.check\n"
        "group.main(['runs'], standalone_mode=False)\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in {'psycopg', 'procrastinate'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
