"""Execution of claimed firings: one run per playbook at a time, the other runs in a queue.

The stops and the wakes of a playbook share a queue: a wake starts exactly the CVMs of the finished stops.

The status of a run is always read from its audit log. So new claims and claims of a killed process are handled alike.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from orchestrator.audit.fleet_store import is_fleet_id, new_fleet_id
from orchestrator.audit.store import new_run_id
from orchestrator.outcome import Ending, Exit
from orchestrator.playbook.schedule import name_wake
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, State, StopRequest
from orchestrator.service.folder import ScheduledPlaybook
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.protocols import Runner, WallClock
from orchestrator.service.registry import ScheduleRegistry
from orchestrator.service.scheduler import GRACE
from orchestrator.times import parse_timestamp, timestamp

TRY_AGAIN = 30.0
"""Seconds between two tries to start a run, while the cloud is unreachable."""
PATIENCE = timedelta(minutes=10)
"""Time limit for these tries."""
_NOTHING_CHANGED = frozenset({Exit.USAGE, Exit.GUARD, Exit.NO_MATCH, Exit.CLOUD})


class RunQueue:
    """The active runs, and a queue for every playbook.

    Attributes:
        running: the active claims, by playbook.
        interrupted: number of interrupted runs, left for the next start.
    """

    def __init__(
        self,
        *,
        group: TaskGroup,
        runner: Runner,
        registry: ScheduleRegistry,
        writer: JournalWriter,
        clock: WallClock,
        stop: StopRequest,
        resume_within: timedelta,
        ended: Callable[[], None],
    ) -> None:
        """Set up.

        Args:
            group: task group of the runs.
            runner: executes the runs.
            registry: the schedules in force.
            writer: writer of the journal.
            clock: the time of day.
            stop: the request to stop.
            resume_within: a run interrupted longer ago is left to a person, unless `on_missed` is `run_once`.
            ended: called after the end of each run.
        """
        self.running: dict[str, FiringClaim] = {}
        self.interrupted = 0
        self._waiting: dict[str, deque[FiringClaim]] = {}
        self._stops: dict[str, StopRequest] = {}
        self._group, self._runner, self._registry, self._writer = group, runner, registry, writer
        self._clock, self._stop, self._resume_within, self._ended = clock, stop, resume_within, ended

    def count_waiting(self, playbook: str) -> int:
        """Count the firings of a playbook, or of its wake, in the queue."""
        return sum(claim.playbook == playbook for line in self._waiting.values() for claim in line)

    def is_busy(self, line: str) -> bool:
        """Check for an active run of a playbook or of its wake."""
        return any(claim.line == line for claim in self.running.values())

    def stop(self, ending: Ending) -> None:
        """Ask all active runs to end."""
        for stop in self._stops.values():
            stop.request_end(ending)

    def cancel(self, run_id: str, by: str) -> bool:
        """Cancel an active run for good; False for another run, and for a run about to end.

        Args:
            run_id: the run or fleet run.
            by: the person, for the record.
        """
        playbook = next((name for name, claim in self.running.items() if claim.run_id == run_id), "")
        stop = self._stops.get(playbook)
        if stop is None or stop.requested.is_set():
            return False
        stop.request_end(Ending.CANCELLED, by=by)
        return True

    @property
    def left(self) -> int:
        """Number of firings left for the next start."""
        return self.interrupted + sum(map(len, self._waiting.values()))

    async def find_unused_id(self, watched: ScheduledPlaybook | None, now: datetime) -> str:
        """Create the id of a run or a fleet run, unused by claims and logs: ids of the same second can collide."""
        taken = {claim.run_id for claim in self._writer.state.claims.values()}
        new_id = new_fleet_id if self._is_fleet(watched) else new_run_id
        while True:
            run_id = new_id(now)
            if run_id not in taken and (await self._runner.read_status(run_id)).state is State.NOTHING_SENT:
                return run_id

    def _is_fleet(self, watched: ScheduledPlaybook | None) -> bool:
        return watched is not None and self._runner.is_fleet(watched.loaded)

    async def claim_firing(self, claim: FiringClaim) -> None:
        """Claim a firing, then start its run, now or after the active run.

        Raises:
            OSError: when the claim can't be written; no run starts then.
        """
        await self._write_claim(claim)
        self._enqueue_claim(claim)

    async def _write_claim(self, claim: FiringClaim) -> None:
        watched = self._registry.watched.get(claim.playbook)
        await self._writer.write_claim(claim, None if watched is None else watched.loaded)

    def _enqueue_claim(self, claim: FiringClaim) -> None:
        if self.is_busy(claim.line):
            self._waiting.setdefault(claim.line, deque()).append(claim)
        else:
            self.running[claim.playbook] = claim
            stop = self._stops[claim.playbook] = StopRequest()
            if self._stop.requested.is_set():
                stop.request_end(self._stop.ending)
            self._group.start_soon(self._carry_out, claim)

    async def recover_claims(self) -> None:
        """Continue the claims of the previous process."""
        continued: dict[str, RunStatus] = {}
        for claim in sorted(self._writer.state.claims.values(), key=lambda claim: claim.planned):
            status = await self._runner.read_status(claim.run_id)
            why = self._find_drop_reason(claim, status, continued.get(claim.line))
            if why is not None:
                with suppress(OSError):
                    await self._end(claim, *why)
                continue
            self._writer.emit("firing.taken_up", run_id=claim.run_id, state=status.state.value, **_claim_fields(claim))
            continued.setdefault(claim.line, status)
            if status.state is State.FINISHED:
                # Ended now, so that a firing due now does not count as an overlap.
                ended = await self._try_run(claim, status, self._stop)
                with suppress(OSError):
                    await self._end(claim, _result(ended), ended.reason, ended.exit_code)
                continue
            self._enqueue_claim(claim)

    def _find_drop_reason(
        self, claim: FiringClaim, status: RunStatus, earlier: RunStatus | None
    ) -> tuple[str, str] | None:
        """Return result and reason for dropping a claim of an earlier process; None to continue the claim.

        Args:
            claim: the claim.
            status: the status of its run.
            earlier: the status of an earlier run of the same playbook with an open claim.
        """
        now = self._clock.wall()
        dropped = self._registry.find_drop_reason(claim, now)
        if status.state in {State.NOTHING_SENT, State.VOID}:
            if dropped is not None:
                return dropped
            could_start = self._find_possible_start(claim, earlier, now)
            if now - could_start > GRACE and not claim.run_once:
                return "missed", "the service ended before the run started"
        elif status.state is State.UNFINISHED:
            hint = f"see `orchestrator show {claim.run_id}`, then `orchestrator resume {claim.run_id}`"
            if dropped is not None and dropped[0] == "wake_due":
                return "left", f"the run was interrupted, and {dropped[1]}; {hint}"
            if not claim.run_once and self._is_old(status, now):
                return "left", f"the run was interrupted longer ago than audit.resume_without_asking; {hint}"
        return None

    def _find_possible_start(self, claim: FiringClaim, earlier: RunStatus | None, now: datetime) -> datetime:
        """Find the first moment for the run of a claim: its own, or the end of the earlier run for a queued claim."""
        if not claim.queued:
            return claim.moment
        if earlier is not None:
            ended_at = earlier.last_at if earlier.state is State.FINISHED else None
            return max(claim.moment, ended_at or now)
        # A stop also waits for a wake of the playbook.
        known = (self._writer.state.playbooks.get(name) for name in (claim.playbook, name_wake(claim.playbook)))
        lasts = [each.last for each in known if each is not None and each.last is not None]
        return max([claim.moment, *(parse_timestamp(last["at"]) for last in lasts if last["exit_code"] is not None)])

    def _is_old(self, status: RunStatus, now: datetime) -> bool:
        return status.last_at is not None and now - status.last_at > self._resume_within

    async def start_waiting(self) -> None:
        """Start the next firing of every queue without an active run."""
        now = self._clock.wall()
        for name, line in list(self._waiting.items()):
            if self.is_busy(name) or self._stop.requested.is_set():
                continue
            with suppress(OSError):
                while line and (dropped := self._registry.find_drop_reason(line[0], now)) is not None:
                    await self._end(line[0], *dropped)
                    line.popleft()
                if line:
                    self._enqueue_claim(line.popleft())
            if not line:
                del self._waiting[name]

    async def _carry_out(self, claim: FiringClaim) -> None:
        try:
            self._writer.emit("firing.began", run_id=claim.run_id, missed=claim.missed, **_claim_fields(claim))
            stop = self._stops[claim.playbook]
            claim, ended, result = await self._run_to_end(claim, stop)
            if ended.interrupted and stop.ending is Ending.CANCELLED:
                ended = Ended(int(Exit.ENDED_EARLY), reason=f"cancelled by {stop.by} before its first request")
            if ended.interrupted:
                self.interrupted += 1
                self._writer.emit("firing.left_for_later", run_id=claim.run_id, **_claim_fields(claim))
            else:
                with suppress(OSError):  # The next start reads the result from the run's log.
                    await self._end(claim, result or _result(ended), ended.reason, ended.exit_code)
        finally:
            del self.running[claim.playbook], self._stops[claim.playbook]
            self._ended()

    async def _run_to_end(self, claim: FiringClaim, stop: StopRequest) -> tuple[FiringClaim, Ended, str | None]:
        """Start or continue a run according to its log; tries again while the cloud is unreachable.

        Returns:
            The claim, perhaps with another run id; the end; and the result of a firing dropped without a run.
        """
        began = self._clock.wall()
        while True:
            status = await self._runner.read_status(claim.run_id)
            if self._needs_new_id(claim, status):
                watched = self._registry.watched.get(claim.playbook)
                try:
                    claim = replace(claim, run_id=await self.find_unused_id(watched, self._clock.wall()))
                    await self._write_claim(claim)
                    self.running[claim.playbook] = claim
                except OSError:
                    return claim, Ended(int(Exit.USAGE), interrupted=True), None
                continue
            ended = await self._try_run(claim, status, stop)
            if status.state is State.FINISHED:
                return claim, ended, None
            if ended.waits:
                dropped = self._registry.find_drop_reason(claim, self._clock.wall())
                if status.state is not State.UNFINISHED and dropped is not None:
                    return claim, replace(ended, reason=dropped[1]), dropped[0]
                began = self._clock.wall()
                continue
            if ended.interrupted or ended.exit_code != Exit.CLOUD:
                return claim, ended, None
            # A wake is owed: it gives way only to the next firing of the playbook.
            is_owed = claim.wakes is not None and not self._waiting.get(claim.line)
            if not is_owed and not timedelta(0) <= self._clock.wall() - began < PATIENCE:
                return claim, ended, None
            facts = {"run_id": claim.run_id, "reason": ended.reason, "seconds": TRY_AGAIN, **_claim_fields(claim)}
            self._writer.emit("firing.tried_again", **facts)
            with anyio.move_on_after(TRY_AGAIN):
                await stop.requested.wait()
                return claim, replace(ended, interrupted=True), None

    def _needs_new_id(self, claim: FiringClaim, status: RunStatus) -> bool:
        """Check for a log without a plan, or for an edit of the playbook's workspaces since the claim."""
        if status.state is not State.NOTHING_SENT:
            return status.state is State.VOID
        watched = self._registry.watched.get(claim.playbook)
        return watched is not None and self._is_fleet(watched) != is_fleet_id(claim.run_id)

    async def _try_run(self, claim: FiringClaim, status: RunStatus, stop: StopRequest) -> Ended:
        match status.state:
            case State.FINISHED:
                return Ended(status.exit_code if status.exit_code is not None else int(Exit.OK))
            case State.HELD:
                return Ended(int(Exit.GUARD), reason="another process executes the run")
            case State.UNREADABLE:
                return Ended(int(Exit.USAGE), reason="the run can't continue: its audit log can't be read")
            case State.ALTERED:
                hint = f"see `orchestrator audit verify {claim.run_id}`"
                return Ended(int(Exit.USAGE), reason=f"the run can't continue: its audit log was altered; {hint}")
        try:
            if status.state is State.UNFINISHED:
                return await self._runner.resume(claim, stop)
            watched = self._registry.watched.get(claim.playbook)
            if watched is None:
                return Ended(int(Exit.USAGE), reason="no valid playbook with this name and a schedule exists any more")
            return await self._runner.start(claim, watched.loaded, stop)
        except Exception as bug:  # noqa: BLE001 - a bug in one run must not end the others
            self._writer.emit("firing.bug", run_id=claim.run_id, exc_info=bug, **_claim_fields(claim))
            return Ended(int(Exit.BUG), reason=f"a bug: {bug!r}; continue with `orchestrator resume {claim.run_id}`")

    async def _end(
        self, claim: FiringClaim, result: str, reason: str | None = None, exit_code: int | None = None
    ) -> None:
        about = {"run_id": claim.run_id, "result": result, "exit_code": exit_code, "reason": reason}
        await self._writer.write("firing.ended", **_claim_fields(claim), **about)


def _result(ended: Ended) -> str:
    return "failed" if ended.exit_code in _NOTHING_CHANGED else "ran"


def _claim_fields(claim: FiringClaim) -> dict[str, object]:
    return {"playbook": claim.playbook, "planned": timestamp(claim.planned)}
