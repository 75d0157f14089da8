"""A worker or a person in tests: calls the functions of the schema over one connection."""

import uuid
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

RUN = "20261126T080000Z-4f2a"
GENESIS = "0" * 64


class Fence(NamedTuple):
    """The right to write a run until another take."""

    run_id: str
    epoch: int
    lease_id: uuid.UUID


class Holder:
    """A process with a connection."""

    def __init__(self, connection: "psycopg.Connection") -> None:
        self.connection = connection

    def call(self, function: str, *args: object) -> list[tuple[Any, ...]]:
        """Call a function of the schema; return its rows."""
        statement = sql.SQL("SELECT * FROM {}({})").format(
            sql.Identifier("orchestrator", function), sql.SQL(", ").join([sql.Placeholder()] * len(args))
        )
        return self.connection.execute(statement, args).fetchall()

    def submit(self, run_id: str = RUN, *, adopt: bool = True, workspace: str = "prod", planned: object = None) -> bool:
        """Submit a run of a workspace of 50 requests a second and a burst of 10."""
        self.call("set_budget", workspace, 50.0, 10)
        ((is_new,),) = self.call(
            "submit_run", run_id, workspace, "nightly", planned, "{}", 1, 0, "ready", adopt, "ann@host"
        )
        assert isinstance(is_new, bool)
        return is_new

    def take(self, run_id: str = RUN, *, how: str = "take_run", lease: str = "60 s", form: int = 1) -> Fence | None:
        """Take a run; None when the run can't be taken now."""
        lease_id = uuid.uuid4()
        rows = self.call(how, run_id, lease_id, "w1", lease, form)
        return Fence(run_id, rows[0][0], lease_id) if rows else None

    def append(
        self, fence: Fence, last: int, *, after: int = 0, head: str = GENESIS, new_head: str = "a" * 64
    ) -> tuple[str, str | None]:
        """Append records of one run; return the verdict, and whether the run must stop."""
        (row,) = self.append_all([(fence, after, head, last, new_head)])
        return row[1], row[2]

    def append_all(self, batches: list[tuple[Fence, int, str, int, str]]) -> list[tuple[Any, ...]]:
        """Append records of several runs: fence, number and hash of the known end, number and hash of the new end."""
        fences, after, heads, last, new_heads = zip(*batches, strict=True)
        rows = [(f.run_id, seq) for f, begin, _, end, _ in batches for seq in range(begin + 1, end + 1)]
        return self.call(
            "append_records",
            "60 s",
            *([list(part) for part in zip(*fences, strict=True)]),
            list(after),
            list(heads),
            list(last),
            list(new_heads),
            [run_id for run_id, _ in rows],
            [seq for _, seq in rows],
            ["action.intent" for _ in rows],
            [f"{seq}\n".encode() for _, seq in rows],
        )

    def renew(self, *fences: Fence) -> list[tuple[Any, ...]]:
        """Renew leases."""
        return self.call("renew_leases", "60 s", *([list(part) for part in zip(*fences, strict=True)]))

    def let_go(self, fence: Fence, state: str | None = None, code: int | None = None, wait: str = "0 s") -> bool:
        """End a lease."""
        ((is_freed,),) = self.call("let_go_run", *fence, state, code, None, wait)
        assert isinstance(is_freed, bool)
        return is_freed


def require(fence: Fence | None) -> Fence:
    """Return the fence of a successful take."""
    assert fence is not None
    return fence
