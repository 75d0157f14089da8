"""A connection of a process to the team store, for short statements: opens again after a failure."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from socket import SHUT_RDWR, socket
from typing import TYPE_CHECKING, Any

from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.postgres.connect import connect_async
from orchestrator.postgres.migrate import explain_errors

if TYPE_CHECKING:
    import psycopg

_CANCEL_TIMEOUT = 0.5
_TIMEOUT = 10.0
"""Seconds for a statement, a new connection included."""

Query = Callable[[str, Sequence[object]], Awaitable[list[tuple[Any, ...]]]]
"""Executes a statement with arguments, and returns its rows, as `Link.query`."""


class Link:
    """One connection, shared by the tasks of one event loop; a statement waits for the statement before.

    The statements must be repeatable, or their loss harmless: after a failure the outcome is not known.
    """

    def __init__(self, url: str, *, listen: bool = True, timeout: float = _TIMEOUT) -> None:
        """Set up, without a connection yet.

        Args:
            url: the URL of the database.
            listen: False behind PgBouncer in transaction mode.
            timeout: seconds for a statement.
        """
        self._url, self._listen, self._timeout = url, listen, timeout
        self._connection: psycopg.AsyncConnection | None = None
        self._lock = asyncio.Lock()

    async def query(self, statement: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Execute a statement, and return its rows.

        Raises:
            StoreDownError: when the database can't be reached, or gives no answer in time.
            SettingsError: when the database refuses the statement.
        """
        async with self._lock:
            executing = asyncio.create_task(self._execute(statement, arguments))
            executing.add_done_callback(_retrieve_error)
            try:
                return await self._wait_for(executing)
            except (OrchestratorError, asyncio.CancelledError):
                await self._abandon(executing)
                raise
            except Exception as error:  # the driver may raise other errors while a connection breaks
                await self._abandon(executing)
                raise StoreDownError(f"the driver failed: {error!r}") from error

    async def _wait_for(self, executing: "asyncio.Task[list[tuple[Any, ...]]]") -> list[tuple[Any, ...]]:
        done, _ = await asyncio.wait({executing}, timeout=self._timeout)
        if not done:
            raise StoreDownError(f"the store gave no answer in {self._timeout:g} s")
        if executing.cancelled():  # not by the caller: a stray cancellation would end the caller's task group
            raise StoreDownError("the driver cancelled a statement")
        return executing.result()

    async def _abandon(self, executing: "asyncio.Task[Any]") -> None:
        """End a statement without an answer, and the connection.

        Asks the server to cancel the statement, and then shuts down the socket. A cancelled task of psycopg would wait
        for 10 seconds where the server does not answer.
        """
        if self._connection is None:
            executing.cancel()
        elif not executing.done():
            await _cancel_statement(self._connection, executing)
            _shut_down(self._connection)
        with suppress(Exception, asyncio.CancelledError):  # known to the caller already
            await executing
        await self._drop()

    async def close(self) -> None:
        """Close the connection."""
        await self._drop()

    async def _execute(self, statement: str, arguments: Sequence[object]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = await connect_async(self._url, listen=self._listen)
        with explain_errors():
            cursor = await self._connection.execute(statement.encode(), arguments)
            return await cursor.fetchall() if cursor.description is not None else []

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _cancel_statement(connection: "psycopg.AsyncConnection", executing: "asyncio.Task[Any]") -> None:
    """Ask the server to cancel a statement, and wait a moment for its end."""
    import psycopg  # noqa: PLC0415 - an extra; loaded before, with the connection

    with suppress(psycopg.Error, TimeoutError, asyncio.CancelledError):
        await connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
        await asyncio.wait({executing}, timeout=_CANCEL_TIMEOUT)


def _shut_down(connection: "psycopg.AsyncConnection") -> None:
    """Shut down the socket of a connection: a statement in progress fails at once."""
    if connection.closed:
        return
    with suppress(OSError), socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(SHUT_RDWR)


def _retrieve_error(task: "asyncio.Task[Any]") -> None:
    """Mark the error of a task as known: an abandoned task has no other reader."""
    if not task.cancelled():
        task.exception()
