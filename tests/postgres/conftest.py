"""A PostgreSQL server for the session, and an empty database for each test."""

import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import NoReturn

import psycopg
import pytest
from anyio.from_thread import start_blocking_portal

from orchestrator.postgres.approvals import StartQuery
from orchestrator.postgres.link import Link
from orchestrator.postgres.migrate import migrate
from tests.postgres.cluster import PASSWORD, USERS, Cluster, find_binaries, start_cluster

_NUMBERS = count(1)

Connect = Callable[[str], "psycopg.Connection"]
"""Opens a connection for a user, such as `wes_worker`; closed at the end of the test."""
Start = Callable[[str], StartQuery]
"""Opens a connection for a user in a thread with an event loop, and starts queries there."""


def give_up_without_server() -> NoReturn:
    """Skip a test on a machine without PostgreSQL; in CI the test fails."""
    message = "PostgreSQL is not installed: set PG_BIN, or install Debian's package `postgresql`"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server with the login roles and a migrated template database. In CI a missing server is a failure."""
    binaries = find_binaries()
    if binaries is None:
        give_up_without_server()
    with start_cluster(binaries) as running:
        running.execute("CREATE ROLE adam_admin LOGIN CREATEROLE")
        running.execute("CREATE DATABASE template_store OWNER adam_admin")
        # As the docs say: by a role with CREATEROLE, not by the superuser.
        url = running.admin_url("template_store").replace("postgres@", "adam_admin@")
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection)
        for user, role in USERS.items():
            granted = f"IN ROLE {role}" if role else ""
            running.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' {granted}")
        yield running


def set_fsync(cluster: Cluster, value: str) -> None:
    """Set fsync of the server, and wait until new connections see the value."""
    cluster.execute(f"ALTER SYSTEM SET fsync = {value}")
    cluster.execute("SELECT pg_reload_conf()")
    while True:
        with psycopg.connect(cluster.admin_url("postgres")) as connection:
            if connection.execute("SHOW fsync").fetchone() == (value,):
                return


@pytest.fixture(scope="module")
def durable(cluster: Cluster) -> Iterator[Cluster]:
    """A server that keeps its commits."""
    set_fsync(cluster, "on")
    yield cluster
    set_fsync(cluster, "off")


@pytest.fixture
def empty_database(cluster: Cluster) -> Iterator[str]:
    """Name of a database without a schema."""
    name = f"test_{next(_NUMBERS)}"
    cluster.execute(f"CREATE DATABASE {name}")
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def own_database(cluster: Cluster) -> Iterator[str]:
    """Name of a migrated database for one test, which may change the schema."""
    name = f"test_{next(_NUMBERS)}"
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template_store")
    yield name
    cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _shared_database(cluster: Cluster) -> str:
    cluster.execute("CREATE DATABASE shared TEMPLATE template_store")
    return "shared"


@pytest.fixture
def database(cluster: Cluster, _shared_database: str) -> Iterator[str]:
    """Name of a migrated database without rows; emptied after the test, a tenth of the time of a new database."""
    yield _shared_database
    # Without triggers and foreign keys, which would refuse.
    cluster.execute(
        "SET session_replication_role = replica; DELETE FROM orchestrator.claims; DELETE FROM orchestrator.keeps;"
        " DELETE FROM orchestrator.runs; DELETE FROM orchestrator.records;"
        " DELETE FROM orchestrator.workspaces; DELETE FROM orchestrator.answers; DELETE FROM orchestrator.leases;"
        " DELETE FROM orchestrator.signed_answers; DELETE FROM orchestrator.journal; DELETE FROM orchestrator.workers;"
        " DELETE FROM orchestrator.procrastinate_jobs; DELETE FROM orchestrator.procrastinate_workers;"
        " DELETE FROM orchestrator.snoozes; DELETE FROM orchestrator.playbooks; DELETE FROM orchestrator.calendars;"
        " DELETE FROM orchestrator.pushes",
        _shared_database,
    )


@pytest.fixture
def connect(cluster: Cluster, database: str) -> Iterator[Connect]:
    """Open connections to the database of the test."""
    opened = []

    def open_connection(user: str) -> "psycopg.Connection":
        connection = psycopg.connect(f"postgresql://{user}@/{database}?host={cluster.folder}&port={cluster.port}")
        connection.autocommit = True
        opened.append(connection)
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


@pytest.fixture
def start(cluster: Cluster, database: str) -> Iterator[Start]:
    """Start queries in a thread with an event loop, as the process of a command does."""
    links: list[Link] = []

    with start_blocking_portal("asyncio") as portal:

        def open_link(user: str) -> StartQuery:
            links.append(link := Link(f"postgresql://{user}@/{database}?host={cluster.folder}&port={cluster.port}"))
            return lambda statement, arguments: portal.start_task_soon(link.query, statement, arguments)

        yield open_link
        for each in links:
            portal.call(each.close)
