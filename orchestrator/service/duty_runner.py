"""Runs of firings on workers: the leader of the schedules submits a run, and waits for its end."""

from collections.abc import Callable

import anyio

from orchestrator.errors import OrchestratorError, StoreDownError
from orchestrator.outcome import Exit
from orchestrator.playbook.load import LoadedPlaybook
from orchestrator.postgres.firing_run import FiringProgress, Verdict
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, State, StopRequest
from orchestrator.service.duty import BuildRun, Term
from orchestrator.service.duty_journal import TAKEN
from orchestrator.times import timestamp

LATE = "no worker took the run in time; see `orchestrator workers`"
POLL_EVERY = 1.0
"""Seconds between two reads of the progress of a run."""
INTERRUPTED = Ended(int(Exit.SIGTERM), interrupted=True)
"""The end of the wait of a stopped leader: workers continue the run, and the next leader waits for its end."""


class DutyRunner:
    """Submits the runs of firings, as `Runner`."""

    def __init__(self, term: Term, build_run: BuildRun, is_fleet: Callable[[LoadedPlaybook], bool]) -> None:
        """Set up.

        Args:
            term: the term; a run of a later term is left alone.
            build_run: builds the run of a firing.
            is_fleet: decides whether a firing of a playbook acts in several workspaces.
        """
        self._term, self._build_run, self._is_fleet = term, build_run, is_fleet

    def is_fleet(self, loaded: LoadedPlaybook) -> bool:
        """Return True if a firing of the playbook acts in several workspaces."""
        return self._is_fleet(loaded)

    async def read_status(self, run_id: str) -> RunStatus:
        """Return the status of a run in the store."""
        found = await self._read_run(run_id)
        if found is None:
            return RunStatus(State.NOTHING_SENT)
        if found.is_unsent and found.exit_code == Exit.CLOUD:
            return RunStatus(State.NOTHING_SENT)  # The queue tries again for some minutes.
        if found.finished_at is not None:
            return RunStatus(State.FINISHED, found.finished_at, found.exit_code)
        return RunStatus(State.UNFINISHED)

    async def start(self, claim: FiringClaim, loaded: LoadedPlaybook, stop: StopRequest) -> Ended:
        """Submit a run, and wait for its end."""
        try:
            run = self._build_run(claim, loaded)
        except OrchestratorError as error:
            return Ended(int(error.exit_code), reason=f"{error}; {error.hint}" if error.hint else str(error))
        term = self._term
        try:
            verdict = await term.store.submit(term.epoch, run)
            found = None if verdict is Verdict.SUBMITTED else await term.store.read_run(claim.run_id)
            if found is not None and found.is_unsent:
                await term.store.retry(term.epoch, claim.run_id)
        except StoreDownError as error:
            term.step_down(f"the result of a submission is unknown: {error}")
            return await self._leave()
        if verdict is Verdict.FENCED:
            term.step_down(TAKEN)
            return await self._leave()
        if verdict is Verdict.EXISTS and found is None:
            reason = f"the firing of {timestamp(claim.planned)} has another run already; see `orchestrator runs`"
            return Ended(int(Exit.GUARD), reason=reason)
        return await self._wait(claim, stop)

    async def resume(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        """Wait for the end of a submitted run; workers continue the run."""
        return await self._wait(claim, stop)

    async def _wait(self, claim: FiringClaim, stop: StopRequest) -> Ended:
        while True:
            found = await self._read_run(claim.run_id)
            if found is None:
                return Ended(int(Exit.USAGE), reason="the run is no longer in the store")
            if found.finished_at is not None:
                return Ended(int(Exit.OK) if found.exit_code is None else found.exit_code, reason=found.reason)
            if found.is_left:
                hint = f"see `orchestrator show {claim.run_id}`, then `orchestrator resume {claim.run_id}`"
                return Ended(int(Exit.ENDED_EARLY), reason=f"no worker continues the run by itself; {hint}")
            if found.is_late:
                await self._give_up(claim.run_id)
                continue
            with anyio.move_on_after(POLL_EVERY):
                await stop.requested.wait()
                return INTERRUPTED

    async def _give_up(self, run_id: str) -> None:
        """End a run that no worker took in time. After a failure, the next leader does so."""
        term = self._term
        try:
            await term.store.give_up(term.epoch, run_id, int(Exit.CLOUD), LATE)
        except StoreDownError as error:
            term.step_down(f"the store can't be reached: {error}")
            await self._leave()

    async def _read_run(self, run_id: str) -> FiringProgress | None:
        try:
            return await self._term.store.read_run(run_id)
        except StoreDownError as error:
            self._term.step_down(f"the store can't be reached: {error}")
            await self._leave()
            raise

    async def _leave(self) -> Ended:
        """Wait for the end of this task: a lost term is cancelled as a whole."""
        await self._term.wait_for_end()
        return INTERRUPTED
