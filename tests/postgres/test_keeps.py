"""Exemptions in PostgreSQL: the contract, rights, and one list for all machines."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from orchestrator.postgres.keeps import StoreKeeps
from orchestrator.runs.keeping import COMMAND
from tests.keep_contract import NOW, KeepContract, entry
from tests.postgres.conftest import Connect


def store_of(connection: "psycopg.Connection") -> StoreKeeps:
    def query(statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        cursor = connection.execute(statement.encode(), arguments)
        return cursor.fetchall() if cursor.description else []

    return StoreKeeps(query, COMMAND, "ann@host")


class TestStoreKeeps(KeepContract):
    """The contract over PostgreSQL."""

    @pytest.fixture
    def store(self, connect: Connect) -> StoreKeeps:
        return store_of(connect("oli_operator"))


def test_workers_read_the_exemptions_of_operators_and_add_none(connect: Connect) -> None:
    store_of(connect("oli_operator")).add_entries([entry()], NOW)
    worker = store_of(connect("wes_worker"))
    assert list(worker.read_entries()) == [entry()]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.remove_entries(["web-1"], NOW)
    ((who, user),) = connect("vic_viewer").execute("SELECT kept_by, db_user FROM orchestrator.keeps").fetchall()
    assert (who, user) == ("ann@host", "oli_operator")
