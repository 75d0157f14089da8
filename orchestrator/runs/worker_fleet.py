"""Fleet runs of a worker: coordinate a fleet run, or wait for the verdict on one of its members."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from orchestrator.audit.fleet_log import FleetEvent, FleetState
from orchestrator.audit.log import AuditLog
from orchestrator.audit.store import require_sound
from orchestrator.errors import NotConfirmedError, OrchestratorError
from orchestrator.outcome import Ending
from orchestrator.playbook.plan import Plan
from orchestrator.postgres.lease import Release
from orchestrator.postgres.link import Query
from orchestrator.runs.fleet.board import StoreBoard, read_membership, report_plan
from orchestrator.runs.fleet.coordinate import GO, REFUSE, FleetEnd, FleetOrder, coordinate_fleet
from orchestrator.runs.fleet.plan import sum_plan
from orchestrator.runs.held_run import HeldRun
from orchestrator.runs.status import StopRequest
from orchestrator.runs.stores import fleet_store
from orchestrator.settings.load import Settings

_POLL_EVERY_S = 0.5


class FleetRefusedError(NotConfirmedError):
    """Raised in a member once the coordinator refused the order; the coordinator reports the reason."""


@dataclass(slots=True)
class Membership:
    """A run's place in a fleet run.

    Attributes:
        query: executes a statement.
        held: the run.
        fleet_id: the fleet run.
        ending: the ending ordered by the coordinator; None for a run that goes on.
    """

    query: Query
    held: HeldRun
    fleet_id: str
    ending: Ending | None = None

    async def confirm_plan(self, plan: Plan) -> bool:
        """Report the plan, and wait for the verdict.

        Raises:
            FleetRefusedError: when the order is refused.
            AuditError: when another worker has taken the run.
        """
        await report_plan(self.query, self.held.lease.fence, sum_plan(plan))
        # The other members need places to plan: with all places taken by waiting members, no verdict would come.
        self.held.give_place()
        while True:
            verdict = await self._read_verdict()
            if verdict == REFUSE:
                raise FleetRefusedError("the fleet run was refused", hint=f"see `orchestrator watch {self.fleet_id}`")
            if verdict is not None:
                await self.held.wait_for_place()
                return True
            await anyio.sleep(_POLL_EVERY_S)

    @asynccontextmanager
    async def obey(self, stop: StopRequest) -> AsyncIterator[None]:
        """End the run within the block once the coordinator orders an ending."""
        self._pass_on(stop)
        found: OrchestratorError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, stop)
            try:
                yield
            except OrchestratorError as error:  # else the task group would wrap the error in an exception group
                found = error
            group.cancel_scope.cancel()
        if found is not None:
            raise found

    async def _watch(self, stop: StopRequest) -> None:
        while self.ending is None:
            await anyio.sleep(_POLL_EVERY_S)
            await self._read_verdict()
            self._pass_on(stop)

    def _pass_on(self, stop: StopRequest) -> None:
        if self.ending is not None and not stop.requested.is_set():
            stop.request_end(self.ending)

    async def _read_verdict(self) -> str | None:
        found = await read_membership(self.query, self.held.run_id)
        verdict = None if found is None else found.verdict
        if verdict not in {None, GO, REFUSE}:
            self.ending = Ending(verdict)
        return verdict


async def find_membership(query: Query, held: HeldRun) -> Membership | None:
    """Find the place of a run in a fleet run; None for a run of its own."""
    found = await read_membership(query, held.run_id)
    return None if found is None else Membership(query, held, found.fleet_id)


class Coordinator:
    """Coordinates a fleet run held by this worker."""

    def __init__(self, settings: Settings, query: Query, held: HeldRun) -> None:
        """Set up.

        Args:
            settings: the settings, with the guards of the total.
            query: executes a statement.
            held: the fleet run.
        """
        self._settings, self._query, self._held = settings, query, held
        self._logs = ExitStack()

    async def __call__(self, order: FleetOrder) -> None:
        """Coordinate the fleet run to its end, or until the hand-over to another worker.

        Raises:
            OrchestratorError: when the order is refused; nothing was sent.
            AuditError: when the fleet log can't be written.
        """
        self._held.give_place()  # the members do the work
        with self._logs:
            end = await self._coordinate(order)
            if end is not None and not end.has_finished:
                release = Release("left", int(end.exit_code), "some runs of the fleet run wait for a person")
                await self._held.let_go(release)  # before the log is closed

    async def _coordinate(self, order: FleetOrder) -> FleetEnd | None:
        held = self._held
        board = StoreBoard(self._query, held.lease.fence, self._open_log)
        end: FleetEnd | None = None
        refusal: OrchestratorError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(_cancel_at_hand_over, held, group.cancel_scope)
            try:
                end = await coordinate_fleet(board, order, has_log=held.lease.seq > 0)
            except OrchestratorError as error:  # else the task group would wrap the error in an exception group
                refusal = error
            group.cancel_scope.cancel()
        if refusal is not None:
            raise refusal
        return end

    async def _open_log(self, first: Mapping[str, object]) -> tuple[AuditLog, FleetState]:
        state, store, lease = FleetState(), fleet_store(self._settings), self._held.lease
        if not lease.seq:
            first_record = (FleetEvent.FLEET_STARTED, dict(first))
            log = await store.begin_log(lease.run_id, [first_record], [state.apply_record])
            self._logs.callback(log.close)
            return log, state
        stored = store.get_fleet(lease.run_id)
        # In a thread: a slow database stops no other run of this worker.
        log, reading = await anyio.to_thread.run_sync(stored.open_log, state.apply_record)
        self._logs.callback(log.close)
        require_sound(reading, stored, "an altered log can't be continued")
        log.observers.append(state.apply_record)
        if state.finished is None:
            log.record_resumed(reading.torn, FleetEvent.FLEET_RESUMED, unterminated=reading.unterminated)
            await log.flush()
        return log, state


async def _cancel_at_hand_over(held: HeldRun, scope: anyio.CancelScope) -> None:
    """Cancel a scope once another worker is to continue the run; a cancelled fleet run ends with its members."""
    while True:
        if held.is_handed_over:
            scope.cancel()
            return
        await anyio.sleep(_POLL_EVERY_S)
