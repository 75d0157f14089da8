"""The members of a fleet run in the team store: their plans, verdicts and ends."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from orchestrator.audit.fleet_log import FleetState
from orchestrator.audit.log import AuditLog
from orchestrator.errors import AuditError, StoreDownError
from orchestrator.runs.fleet.coordinate import Member
from orchestrator.runs.fleet.plan import PlanTotals

if TYPE_CHECKING:
    from orchestrator.postgres.lease import Fence
    from orchestrator.postgres.link import Query

_MEMBERS = (
    "SELECT workspace, run_id, state, plan, verdict, exit_code, reason, failed, last FROM orchestrator.list_members(%s)"
)
_RETRY_S = 1.0

OpenLog = Callable[[Mapping[str, object]], Awaitable[tuple[AuditLog, FleetState]]]
"""Begins or continues the fleet log, as `FleetBoard.open_log`."""


class StoreBoard:
    """The members of one fleet run, as `FleetBoard`. The holder of the fleet run gives the verdicts."""

    def __init__(self, query: "Query", fence: "Fence", open_log: OpenLog) -> None:
        """Set up.

        Args:
            query: executes a statement.
            fence: the right to act for the fleet run.
            open_log: begins or continues the fleet log.
        """
        self._query, self._fence, self._open_log = query, fence, open_log

    async def open_log(self, first: Mapping[str, object]) -> tuple[AuditLog, FleetState]:
        """Begin or continue the fleet log, as `FleetBoard.open_log`."""
        return await self._open_log(first)

    async def list_members(self) -> Sequence[Member]:
        """List the members, by name of the workspace."""
        return [_read_member(row) for row in await query_until_up(self._query, _MEMBERS, [self._fence.run_id])]

    async def give_verdict(self, run_ids: Collection[str], verdict: str) -> None:
        """Give members a verdict, as `FleetBoard.give_verdict`.

        Raises:
            AuditError: when another process has taken the fleet run.
        """
        statement = "SELECT orchestrator.give_verdict(%s, %s, %s, %s::text[], %s)"
        ((is_held,),) = await query_until_up(self._query, statement, [*self._fence, list(run_ids), verdict])
        if not is_held:
            raise AuditError("another process took the fleet run over: its lease had expired")


async def report_plan(query: "Query", fence: "Fence", totals: PlanTotals) -> None:
    """Report the totals of a member's plan to the coordinator.

    Raises:
        AuditError: when another process has taken the run.
    """
    arguments = [*fence, json.dumps(asdict(totals))]
    ((is_held,),) = await query_until_up(query, "SELECT orchestrator.report_plan(%s, %s, %s, %s::jsonb)", arguments)
    if not is_held:
        raise AuditError("another process took the run over: its lease had expired")


class MemberVerdict(NamedTuple):
    """The fleet run of a member, and the verdict: `GO`, `REFUSE`, or an `Ending`; None before the verdict."""

    fleet_id: str
    verdict: str | None


async def read_membership(query: "Query", run_id: str) -> MemberVerdict | None:
    """Read the verdict on a member; None for a run outside fleet runs."""
    rows = await query_until_up(query, "SELECT fleet_id, verdict FROM orchestrator.read_verdict(%s)", [run_id])
    return MemberVerdict(*rows[0]) if rows else None


async def query_until_up(query: "Query", statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
    """Execute a repeatable statement; wait while the database is down."""
    while True:
        try:
            return await query(statement, arguments)
        except StoreDownError:
            await anyio.sleep(_RETRY_S)


def _read_member(row: Sequence[Any]) -> Member:
    workspace, run_id, state, plan, verdict, exit_code, reason, failed, last = row
    totals = None if plan is None else PlanTotals(**plan)
    end = None if last is None else json.loads(bytes(last))
    return Member(workspace, run_id, state, totals, verdict, exit_code, reason, failed, end)
