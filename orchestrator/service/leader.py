"""The scheduler on several machines: serve while this process has the duty of the schedules, else stand by."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import anyio

from orchestrator.errors import OrchestratorError, SettingsError, StoreDownError
from orchestrator.outcome import Ending
from orchestrator.postgres.duty import NO_DUTY
from orchestrator.service.duty import BuildRun, DutyStore, Term
from orchestrator.service.duty_journal import TAKEN, DutyJournal, open_journal
from orchestrator.service.overview import Overview
from orchestrator.service.protocols import EventSink
from orchestrator.service.service import Service
from orchestrator.service.troubles import Troubles

LONGEST_LEASE = 20.0
"""Longest lease of the duty, in seconds: a new leader comes within the minute in which a firing is in time."""
TRY_EVERY = 2.0
"""Seconds between two tries of a standby."""
_LET_GO = 2.0
"""Time limit, in seconds, for giving the duty away at the end."""

OpenService = Callable[[Term, DutyJournal], Service]
"""Creates the service for a term."""


class Leader:
    """Takes the duty of the schedules again and again, and runs the service of each term.

    Attributes:
        service: the service of the current term; None on a standby.
    """

    def __init__(
        self,
        *,
        store: DutyStore,
        build_run: BuildRun,
        open_service: OpenService,
        emit: EventSink,
        lease: float,
        try_every: float = TRY_EVERY,
    ) -> None:
        """Set up.

        Args:
            store: the store of the duty.
            build_run: builds the run of a firing.
            open_service: creates the service for a term.
            emit: receives all events.
            lease: time until another process may take the duty of a dead process, in seconds.
            try_every: time between two tries to take the duty, in seconds.
        """
        self.service: Service | None = None
        self._store, self._build_run, self._open_service, self._emit = store, build_run, open_service, emit
        self._lease, self._try_every = lease, try_every
        self._troubles = Troubles(emit)
        self._stop, self._ending = anyio.Event(), Ending.SIGTERM
        self._began: datetime | None = None
        self._tried_at: float | None = None
        self._leader: str | None = None

    async def __call__(self) -> int:
        """Serve or stand by until stopped; returns 0, because workers and the next leader continue all firings."""
        while not self._stop.is_set():
            epoch = await self._try_take()
            if epoch is not None:
                await self._lead(Term(self._store, epoch))
            else:
                await self._wait(self._try_every)
        return 0

    async def _wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._stop.wait()

    def stop(self, ending: Ending) -> None:
        """Start no more firings, and give the duty away."""
        self._ending = ending
        self._stop.set()
        if self.service is not None:
            self.service.stop(ending)

    async def _try_take(self) -> int | None:
        try:
            duty = await self._store.take()
        except OrchestratorError as error:
            duty = NO_DUTY
            self._leader = None
            self._troubles.set("store", f"{error}; {error.hint}" if error.hint else str(error))
        else:
            self._troubles.set("store", None)
            if duty.epoch is None and duty.holder != self._leader:
                self._emit("service.standby", leader=duty.holder)
            self._leader = duty.holder
            self._began = self._began or self._store.wall()
        self._tried_at = anyio.current_time()
        return duty.epoch

    async def _lead(self, term: Term) -> None:
        """Run the service until stopped, or until the end of the term."""
        try:
            journal = await open_journal(term, self._build_run)
        except StoreDownError as error:
            self._troubles.set("store", str(error))
            await self._wait(self._try_every)
            return
        except SettingsError as error:
            await self._leave_to_others(term, error)
            return
        self._troubles.set("journal", None)
        self._emit("service.leading", epoch=term.epoch)
        self.service = self._open_service(term, journal)
        if self._stop.is_set():
            self.service.stop(self._ending)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._keep_lease, term)
                group.start_soon(_cancel_at_loss, term, group.cancel_scope)
                await self.service()
                group.cancel_scope.cancel()
        finally:
            self.service, self._leader = None, None
            if term.reason is None:
                await self._let_go(term)
        if term.reason is not None:
            self._emit("service.stepped_down", epoch=term.epoch, reason=term.reason)

    async def _leave_to_others(self, term: Term, error: SettingsError) -> None:
        """Give the duty away for a while: a newer version on another machine may be able to read the journal."""
        self._troubles.set("journal", f"{error}; {error.hint}" if error.hint else str(error))
        await self._let_go(term)
        await self._wait(self._lease)

    async def _keep_lease(self, term: Term) -> None:
        while True:
            await anyio.sleep(self._lease / 5)
            try:
                duty = await self._store.take()
            except StoreDownError as error:
                term.step_down(f"the lease can't be renewed: {error}")
                return
            if duty.epoch != term.epoch:
                term.step_down(TAKEN)
                return

    async def _let_go(self, term: Term) -> None:
        with anyio.move_on_after(_LET_GO, shield=True):
            try:
                await self._store.let_go(term.epoch)
            except StoreDownError:
                return  # The lease ends by itself.

    def overview(self) -> Overview:
        """Return the current state of the service, or of a standby."""
        service = self.service
        if service is not None:
            found = service.overview()
            return replace(
                found, began=self._began, troubles=(*self._troubles.reasons, *found.troubles), leader=self._leader
            )
        return Overview(
            now=self._store.wall(),
            began=self._began,
            rows=(),
            faults=(),
            troubles=self._troubles.reasons,
            stopping=self._stop.is_set(),
            round_at=self._tried_at,
            leader=self._leader,
            is_standby=True,
        )


async def _cancel_at_loss(term: Term, scope: anyio.CancelScope) -> None:
    await term.lost.wait()
    scope.cancel()
