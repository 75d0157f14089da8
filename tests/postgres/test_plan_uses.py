"""Used plans in PostgreSQL: the contract, rights, and no way to free a used plan."""

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from orchestrator.postgres.plan_uses import StorePlanUses
from tests.plan_use_contract import NOW, PlanUseContract, new_digest
from tests.postgres.conftest import Connect


def store_of(connection: "psycopg.Connection") -> StorePlanUses:
    def query(statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        return connection.execute(statement.encode(), arguments).fetchall()

    return StorePlanUses(query, "ann@host")


class TestStorePlanUses(PlanUseContract):
    """The contract over PostgreSQL."""

    @pytest.fixture
    def store(self, connect: Connect) -> StorePlanUses:
        return store_of(connect("oli_operator"))


def test_a_worker_uses_a_plan_and_no_user_frees_it(connect: Connect) -> None:
    digest = new_digest()
    assert store_of(connect("wes_worker")).use_plan(digest, "run-1", NOW) is None
    for user in ("wes_worker", "oli_operator"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connect(user).execute("DELETE FROM orchestrator.plan_uses")
    ((who, user),) = (
        connect("vic_viewer")
        .execute("SELECT used_by, db_user FROM orchestrator.plan_uses WHERE digest = %s", [digest])
        .fetchall()
    )
    assert (who, user) == ("ann@host", "wes_worker")
