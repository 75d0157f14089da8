"""A process or task in tests that sends as fast as a shared budget permits.

As a program: reads the last moment from stdin, and prints the moments of all requests.
"""

import asyncio
import json
import sys
import uuid

import psycopg  # noqa: F401 - before the start signal

from orchestrator.postgres.budget import StoreBudget
from orchestrator.postgres.lease import Fence
from orchestrator.postgres.link import Link
from orchestrator.times import boot_seconds


class Sender:
    """Sends one request after another. `went` has the moments on this machine's clock."""

    def __init__(self, url: str, fence: Fence | None, *, workspace: str = "prod") -> None:
        self.link = Link(url)
        self.questions = self.attempts = 0
        self._now = 0.0
        self.budget = StoreBudget(self._query, workspace, fence, clock=self._clock)
        self.went: list[float] = []

    def _clock(self) -> float:
        self._now = boot_seconds()
        return self._now

    async def _query(self, statement: str, arguments: object) -> list[tuple[object, ...]]:
        self.questions += 1
        return await self.link.query(statement, arguments)  # type: ignore[arg-type] # as given

    async def send(self, until: float) -> None:
        """Send until a moment."""
        while boot_seconds() < until:
            self.attempts += 1
            wait = self.budget.take_turn()
            if wait <= 0:
                self.went.append(self._now)
            await asyncio.sleep(min(max(wait, 0), until - boot_seconds()))

    async def run(self, until: float) -> None:
        """Send until a moment, with a task for the slices."""
        task = asyncio.create_task(self.budget.run())
        try:
            await self.send(until)
        finally:
            self.budget.close()
            await task
            await self.link.close()


if __name__ == "__main__":
    url, run_id, epoch, lease_id = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    until = float(sys.stdin.readline())
    sender = Sender(url, Fence(run_id, int(epoch), uuid.UUID(lease_id)))
    asyncio.run(sender.run(until))
    sys.stdout.write(json.dumps(sender.went))
