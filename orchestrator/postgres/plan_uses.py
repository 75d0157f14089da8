"""Used plans in the team store: an approved plan counts for a single run on all machines."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from orchestrator.audit.plan_uses import PlanUse
from orchestrator.errors import StoreDownError
from orchestrator.times import timestamp


class StorePlanUses:
    """The used plans in the team store, as `PlanUseStore`."""

    def __init__(self, query: Callable[[str, Sequence[object]], list[tuple[Any, ...]]], by: str) -> None:
        """Set up.

        Args:
            query: executes a statement, for any thread.
            by: user@host.
        """
        self._query, self._by = query, by

    def use_plan(self, digest: str, run_id: str, now: datetime) -> PlanUse | None:
        """Record the use of a plan, as `PlanUseStore.use_plan`."""
        del now  # the database has its own clock
        statement, arguments = "SELECT run_id, at FROM orchestrator.use_plan(%s, %s, %s)", [digest, run_id, self._by]
        try:
            ((used_by, at),) = self._query(statement, arguments)
        except StoreDownError:
            # The database may have recorded the use and lost the connection: the same run may ask again.
            ((used_by, at),) = self._query(statement, arguments)
        return None if used_by == run_id else PlanUse(used_by, timestamp(at))
