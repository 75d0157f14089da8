"""Connections to the team store, and the errors of failed connections."""

import socket
import sys

import pytest

from orchestrator.errors import SettingsError, StoreDownError
from orchestrator.postgres.connect import connect, explain_refusal
from tests.postgres.cluster import PASSWORD, Cluster


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.mark.usefixtures("password")
def test_a_connection_notices_a_dead_server_soon_and_commits_each_statement(cluster: Cluster, database: str) -> None:
    with connect(cluster.url(database, "wes_worker")) as connection:
        parameters = connection.info.get_parameters()
        assert parameters["tcp_user_timeout"] == "10000"
        assert parameters["keepalives_idle"] == "5"
        assert (connection.autocommit, connection.prepare_threshold) == (True, 5)


@pytest.mark.usefixtures("password")
def test_parameters_of_the_url_win_and_a_pooler_gets_no_prepared_statement(cluster: Cluster, database: str) -> None:
    url = f"{cluster.url(database, 'wes_worker')}?tcp_user_timeout=2000"
    with connect(url, listen=False) as connection:
        assert connection.info.get_parameters()["tcp_user_timeout"] == "2000"
        assert connection.prepare_threshold is None


def test_wrong_settings_are_told_apart_from_an_unreachable_server(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url(database, "wes_worker")
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    with pytest.raises(SettingsError, match="the password is missing"):
        connect(url)
    monkeypatch.setenv("PGPASSWORD", "s3cretw0rd")
    with pytest.raises(SettingsError, match="wrong user or password") as caught:
        connect(url)
    assert "s3cretw0rd" not in str(caught.value)
    assert f"wes_worker@127.0.0.1:{cluster.port}/{database}" in caught.value.message
    assert "PGPASSFILE" in (caught.value.hint or "")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with pytest.raises(SettingsError, match=r'wrong database or user \(database "none" does not'):
        connect(cluster.url("none", "wes_worker"))
    with pytest.raises(SettingsError, match="the database has no TLS"):
        connect(f"{url}?sslmode=require")
    with pytest.raises(SettingsError, match="the role may not log in"):
        connect(cluster.admin_url(database).replace("postgres@", "orchestrator_worker@"))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(StoreDownError, match=f"store a@127.0.0.1:{port}/b can't be reached: Connection refused$"):
        connect(f"postgresql://a@127.0.0.1:{port}/b")


@pytest.mark.parametrize(
    "url", ["postgresql://db/x?hots=y", "postgresql://db:port/x", "postgresql://127.0.0.1/x?connect_timeout=y"]
)
def test_a_wrong_url_is_an_error_of_the_settings(url: str) -> None:
    with pytest.raises(SettingsError, match="store"):
        connect(url)


@pytest.mark.parametrize(
    "message",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "connection timeout expired",
        'could not translate host name "db" to address: Name or service not known',
    ],
)
def test_a_server_that_may_be_there_later_is_unreachable(message: str) -> None:
    assert isinstance(explain_refusal(message, "db/x"), StoreDownError)


def test_without_the_extra_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match="needs the extra `postgres`") as caught:
        connect("postgresql://db/x")
    assert "cvm-orchestrator[postgres]" in (caught.value.hint or "")
