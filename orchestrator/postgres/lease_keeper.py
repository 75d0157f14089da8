"""Renew the leases of a process, all with one statement."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from orchestrator.errors import OrchestratorError
from orchestrator.postgres.lease import Lease
from orchestrator.postgres.link import Query
from orchestrator.times import boot_seconds

_SHARE = 5
"""Renewals in the length of a lease."""
_LONGEST_RETRY = 1.0
_RENEW = "SELECT run_id, stop_wanted FROM orchestrator.renew_leases(%s, %s::text[], %s::bigint[], %s::uuid[])"


class LeaseKeeper:
    """Renews the leases of this process every fifth of a lease. Used from one event loop."""

    def __init__(self, query: Query, seconds: float, *, clock: Callable[[], float] = boot_seconds) -> None:
        """Set up.

        Args:
            query: executes a statement.
            seconds: the length of a lease.
            clock: the clock of the leases.
        """
        self._query, self._seconds, self._clock = query, seconds, clock
        self._leases: dict[str, Lease] = {}

    def add(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._leases[lease.run_id] = lease

    def remove(self, lease: Lease) -> None:
        """Renew a lease no longer."""
        if self._leases.get(lease.run_id) is lease:
            del self._leases[lease.run_id]

    def is_empty(self) -> bool:
        """Return True without a lease."""
        return not self._leases

    @asynccontextmanager
    async def keep(self) -> AsyncIterator[None]:
        """Renew all leases for the length of the block."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._run)
            yield
            group.cancel_scope.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self.renew()
            except OrchestratorError:
                # The leases run out by themselves in a long outage; nobody sends anything then.
                await anyio.sleep(min(self._seconds / _SHARE, _LONGEST_RETRY))
            else:
                await anyio.sleep(self._seconds / _SHARE)

    async def renew(self) -> None:
        """Renew all leases once; a lease without an answer is lost.

        Raises:
            StoreDownError: when the database can't be reached.
            SettingsError: when the database refuses the statement.
        """
        leases = [lease for lease in self._leases.values() if not lease.is_lost]
        if not leases:
            return
        asked_at = self._clock()
        columns = [list(column) for column in zip(*(lease.fence for lease in leases), strict=True)]
        rows = await self._query(_RENEW, [timedelta(seconds=self._seconds), *columns])
        held: dict[str, str | None] = dict(rows)
        for lease in leases:
            if lease.run_id in held:
                lease.renew(asked_at, held[lease.run_id])
            elif self._leases.get(lease.run_id) is lease:  # not let go in the meantime
                lease.lose()
