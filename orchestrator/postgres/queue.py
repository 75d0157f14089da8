"""The queue of runs for a worker: jobs of Procrastinate, and a sweep every few seconds.

A job says "some worker take this run", and ends within moments. The lease alone decides who has a run. So a lost or
doubled job does no harm: the sweep queues every free run again.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.errors import OrchestratorError
from orchestrator.postgres.connect import read_options
from orchestrator.postgres.link import Link
from orchestrator.times import timestamp

if TYPE_CHECKING:
    from procrastinate import App

Offer = Callable[[str], Awaitable[None]]
"""Offers a run to this worker; returns soon, whether the worker takes the run or not."""

TASK = "run"
FLEETS = "fleets"
"""Queue of the fleet runs: every worker may coordinate."""
_POLL_S = 2.0
_NEVER = 1e9
_RESTART_S = 1.0
_STOP_S = 1.0
_UNREGISTER_S = 0.3
_POOL_TIMEOUT_S = 5.0
_NAMES = re.compile(r"\bprocrastinate_")


@dataclass(frozen=True, slots=True)
class Stop:
    """The wish of a person to end a run of this worker.

    Attributes:
        run_id: the run.
        at_once: whether to leave sent requests unwatched.
        by: user@host of the person.
    """

    run_id: str
    at_once: bool
    by: str | None


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who submitted a run, and who cancelled the run.

    Attributes:
        by: user@host of the person, as the person's machine says.
        db_user: the user of the database, attested by the database.
        at: time of the submission.
        stop_by: user@host of the person that cancelled the run; None for a run not cancelled.
    """

    by: str
    db_user: str
    at: datetime
    stop_by: str | None

    def describe(self) -> dict[str, str]:
        """Build `submitted` of `run.started`."""
        return {"by": self.by, "db_user": self.db_user, "at": timestamp(self.at)}


class RunQueue:
    """The queue as seen by one worker. Used from one event loop."""

    def __init__(
        self, url: str, holder: str, workspaces: Sequence[str], *, version: str, format_: int, listen: bool = True
    ) -> None:
        """Set up, without a connection yet.

        Args:
            url: the URL of the database.
            holder: the name of this worker, unique.
            workspaces: the workspaces of this worker's keys.
            version: the version of this program.
            format_: the newest format of runs that this worker can carry out.
            listen: False behind PgBouncer in transaction mode.
        """
        self._url, self._listen = url, listen
        self._holder, self._workspaces = holder, list(workspaces)
        self._version, self._format = version, format_
        self.link = Link(url, listen=listen)

    async def sweep(self) -> list[Stop]:
        """Show that this worker lives, queue free runs without a job, and return the runs to end.

        Raises:
            StoreDownError: when the database can't be reached.
            SettingsError: when the database refuses a statement.
        """
        await self.link.query(
            "SELECT orchestrator.record_worker(%s, %s, %s, %s)",
            [self._holder, self._version, self._format, self._workspaces],
        )
        await self.link.query("SELECT orchestrator.queue_free_runs(%s, %s)", [self._workspaces, self._format])
        rows = await self.link.query("SELECT * FROM orchestrator.list_stops(%s)", [self._holder])
        return [Stop(run_id, wanted == "at_once", by) for run_id, wanted, by in rows]

    async def read_submitter(self, run_id: str) -> Submitter:
        """Read who submitted a run.

        Raises:
            StoreDownError: when the database can't be reached.
            SettingsError: when the database refuses the statement.
        """
        (row,) = await self.link.query("SELECT * FROM orchestrator.read_submission(%s)", [run_id])
        return Submitter(*row)

    async def queue_again(self, run_id: str) -> None:
        """Queue a run that was let go, so that another worker takes the run at once; the sweep would do so later."""
        with suppress(OrchestratorError):
            await self.link.query("SELECT orchestrator.queue_run(%s)", [run_id])

    async def forget(self) -> None:
        """Take this worker off the list of workers, and close the connection."""
        with anyio.move_on_after(_STOP_S, shield=True):
            with suppress(OrchestratorError):  # the list shows the worker as gone after a while
                await self.link.query("SELECT orchestrator.forget_worker(%s)", [self._holder])
        await self.link.close()

    async def work(self, offer: Offer, warn: Callable[..., object]) -> None:
        """Offer the run of every job to this worker until cancelled. Begins again a second after any error.

        After an error of the library, such as one of another version, free runs are offered without jobs.

        Args:
            offer: called with each run.
            warn: called with an event's name, and its facts by keyword, after a new error.
        """
        reason: str | None = None
        for name in ("procrastinate", "psycopg.pool"):  # the sweep reports an outage; the libraries would, too
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        while True:
            error = await _run_apart(self._work(offer))
            if error is not None:
                if error != reason:
                    reason = error
                    warn("queue.failed", reason=reason)
                await self._offer_free_runs(offer)
            await anyio.sleep(_RESTART_S)

    async def _offer_free_runs(self, offer: Offer) -> None:
        with suppress(OrchestratorError):
            for run_id, *_ in await self.link.query(
                "SELECT run_id FROM orchestrator.list_free_runs(%s, %s)", [self._workspaces, self._format]
            ):
                await offer(run_id)

    async def _work(self, offer: Offer) -> None:
        app = _create_app(self._url, offer, listen=self._listen)
        async with app.open_async():
            await app.run_worker_async(
                queues=[*(queue_of(name) for name in self._workspaces), FLEETS],
                name=self._holder,
                concurrency=1,
                fetch_job_polling_interval=_POLL_S,
                abort_job_polling_interval=_NEVER,
                shutdown_graceful_timeout=_STOP_S,
                listen_notify=self._listen,
                delete_jobs="always",
                install_signal_handlers=False,
            )


async def _run_apart(work: Coroutine[Any, Any, None]) -> str | None:
    """Run the library in a task of its own, and return its error; None for an end without an error.

    The library cancels tasks of its own while a connection breaks. A cancellation from there must not reach the
    worker: the worker's task group would take the cancellation for its own, and the worker would end.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    finally:
        with anyio.CancelScope(shield=True):
            for seconds in (_UNREGISTER_S, _STOP_S):  # the second cancellation ends a wait for the database
                task.cancel()
                await asyncio.wait({task}, timeout=seconds)
    if task.cancelled():
        return "the library cancelled itself"
    found = task.exception()
    return None if found is None else str(found) or repr(found)


def queue_of(workspace: str) -> str:
    """Return the name of the queue of a workspace; the functions of the schema have the same rule."""
    return f"ws.{workspace}"


def _create_app(url: str, offer: Offer, *, listen: bool) -> "App":
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415 - takes long to import

    class Connector(PsycopgConnector):
        """Names the schema of Procrastinate's objects, so that no connection needs a search path of its own."""

        async def execute_query_async(self, query: Any, **arguments: Any) -> None:  # noqa: ANN401 - as the library
            await super().execute_query_async(_qualify(query), **arguments)

        async def execute_query_one_async(self, query: Any, **arguments: Any) -> Any:  # noqa: ANN401 - the same
            return await super().execute_query_one_async(_qualify(query), **arguments)

        async def execute_query_all_async(self, query: Any, **arguments: Any) -> Any:  # noqa: ANN401 - the same
            return await super().execute_query_all_async(_qualify(query), **arguments)

    options = read_options(url, listen=listen)
    del options["autocommit"]  # the library has transactions of its own
    app = App(connector=Connector(kwargs=options, min_size=1, max_size=2, timeout=_POOL_TIMEOUT_S))

    @app.task(name=TASK)
    async def run(run_id: str) -> None:
        await offer(run_id)

    return app


def _qualify(query: str) -> Any:  # noqa: ANN401 - the library wants a literal
    return _NAMES.sub("orchestrator.procrastinate_", query)
