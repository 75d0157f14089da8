"""The runs of claimed firings: one of a playbook at a time, others after it, each to its end whatever happens.

Where a run stands is asked of its audit log, never remembered: so it makes no difference whether the claim is a moment
old or from a process that was killed.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from orchestrator.audit.store import new_run_id
from orchestrator.moment import timestamp
from orchestrator.outcome import Exit
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Ended, RunStatus, State, Stop
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.protocols import Clock, Runner
from orchestrator.service.registry import ScheduleRegistry
from orchestrator.service.scheduler import GRACE

TRY_AGAIN = 30.0
"""Seconds after which a run is tried again that could not begin since the cloud could not be reached."""
PATIENCE = timedelta(minutes=10)
"""For so long."""
_SNOOZED = "it is snoozed"
_NOTHING_CHANGED = frozenset({Exit.USAGE, Exit.GUARD, Exit.NO_MATCH, Exit.CLOUD})


class Runs:
    """What is being carried out, and what waits.

    Attributes:
        running: the claims that are being carried out, by playbook.
        interrupted: how many of them ended before they were through, for the next start to go on with.
    """

    def __init__(
        self,
        *,
        group: TaskGroup,
        runner: Runner,
        roster: ScheduleRegistry,
        scribe: JournalWriter,
        clock: Clock,
        stop: Stop,
        resume_within: timedelta,
        ended: Callable[[], None],
    ) -> None:
        """Set up.

        Args:
            group: where they run.
            runner: carries them out.
            roster: the playbooks.
            scribe: what is written down.
            clock: the time of day.
            stop: says when they are to come to their end.
            resume_within: a run that was cut off longer ago is left to a person, unless its schedule makes up for what
                is late.
            ended: called when one of them has ended.
        """
        self.running: dict[str, FiringClaim] = {}
        self.interrupted = 0
        self._waiting: dict[str, deque[FiringClaim]] = {}
        self._group, self._runner, self._roster, self._scribe = group, runner, roster, scribe
        self._clock, self._stop, self._resume_within, self._ended = clock, stop, resume_within, ended

    def waiting(self, playbook: str) -> int:
        """How many firings of a playbook wait for the run before them."""
        return len(self._waiting.get(playbook, ()))

    @property
    def left(self) -> int:
        """How many firings are left for the next start."""
        return self.interrupted + sum(map(len, self._waiting.values()))

    def unused_id(self, now: datetime) -> str:
        """An id that no other claim has and no run: of those that begin in one second two may be given the same."""
        taken = {claim.run_id for claim in self._scribe.memory.claims.values()}
        while True:
            run_id = new_run_id(now)
            if run_id not in taken and self._runner.standing(run_id).state is State.NOTHING_SENT:
                return run_id

    async def add(self, claim: FiringClaim) -> None:
        """Claim a firing, and carry it out: now, or after the run before it.

        Raises:
            OSError: when the claim can't be written; nothing is carried out then.
        """
        await self._scribe.write("firing.claimed", **claim.fields())
        self._line_up(claim)

    def _line_up(self, claim: FiringClaim) -> None:
        if claim.playbook in self.running:
            self._waiting.setdefault(claim.playbook, deque()).append(claim)
        else:
            self.running[claim.playbook] = claim
            self._group.start_soon(self._carry_out, claim)

    async def recover(self) -> None:
        """Take up what was claimed before the process ended."""
        for claim in sorted(self._scribe.memory.claims.values(), key=lambda claim: claim.planned):
            standing = self._runner.standing(claim.run_id)
            why = self._why_not(claim, standing)
            if why is not None:
                with suppress(OSError):
                    await self._end(claim, *why)
                continue
            self._scribe.tell("firing.taken_up", run_id=claim.run_id, state=standing.state.value, **_named(claim))
            self._line_up(claim)

    def _why_not(self, claim: FiringClaim, standing: RunStatus) -> tuple[str, str] | None:
        """Why a claim of an earlier process is not to be gone on with: the result, and the reason."""
        now = self._clock.wall()
        if standing.state in {State.NOTHING_SENT, State.VOID}:
            if self._roster.is_snoozed(claim.playbook, claim.planned, now):
                return "snoozed", _SNOOZED
            waits = claim.queued and claim.playbook in self.running
            if now - claim.moment > GRACE and not claim.run_once and not waits:
                return "missed", "the process ended before its run began"
        elif standing.state is State.UNFINISHED and not claim.run_once and self._is_old(standing, now):
            hint = f"see `orchestrator show {claim.run_id}`, then `orchestrator resume {claim.run_id}`"
            return "left", f"it was cut off longer ago than audit.resume_without_asking; {hint}"
        return None

    def _is_old(self, standing: RunStatus, now: datetime) -> bool:
        return standing.last_at is not None and now - standing.last_at > self._resume_within

    async def go_on(self) -> None:
        """Begin what waits for a run that has ended."""
        now = self._clock.wall()
        for name, line in list(self._waiting.items()):
            if name in self.running or self._stop.wanted.is_set():
                continue
            with suppress(OSError):
                while line and self._roster.is_snoozed(name, line[0].planned, now):
                    await self._end(line[0], "snoozed", _SNOOZED)
                    line.popleft()
                if line:
                    self._line_up(line.popleft())
            if not line:
                del self._waiting[name]

    async def _carry_out(self, claim: FiringClaim) -> None:
        try:
            self._scribe.tell("firing.began", run_id=claim.run_id, missed=claim.missed, **_named(claim))
            claim, ended = await self._to_its_end(claim)
            if ended.interrupted:
                self.interrupted += 1
                self._scribe.tell("firing.left_for_later", run_id=claim.run_id, **_named(claim))
            else:
                with suppress(OSError):  # Its log says it, and the next start looks there.
                    await self._end(claim, _result(ended), ended.reason, ended.exit_code)
        finally:
            del self.running[claim.playbook]
            self._ended()

    async def _to_its_end(self, claim: FiringClaim) -> tuple[FiringClaim, Ended]:
        """Begin a run or go on with it, as its log says; again after a while where the cloud can't be reached."""
        began = self._clock.wall()
        while True:
            standing = self._runner.standing(claim.run_id)
            if standing.state is State.VOID:
                claim = replace(claim, run_id=self.unused_id(self._clock.wall()))
                try:
                    await self._scribe.write("firing.claimed", **claim.fields())
                except OSError:
                    return claim, Ended(int(Exit.USAGE), interrupted=True)
                continue
            ended = await self._once(claim, standing)
            if ended.waits:
                if standing.state is not State.UNFINISHED and self._is_snoozed(claim):
                    return claim, replace(ended, reason=_SNOOZED)
                began = self._clock.wall()
                continue
            if ended.interrupted or ended.exit_code != Exit.CLOUD:
                return claim, ended
            if not timedelta(0) <= self._clock.wall() - began < PATIENCE:
                return claim, ended
            facts = {"run_id": claim.run_id, "reason": ended.reason, "seconds": TRY_AGAIN, **_named(claim)}
            self._scribe.tell("firing.tried_again", **facts)
            with anyio.move_on_after(TRY_AGAIN):
                await self._stop.wanted.wait()
                return claim, replace(ended, interrupted=True)

    def _is_snoozed(self, claim: FiringClaim) -> bool:
        return self._roster.is_snoozed(claim.playbook, claim.planned, self._clock.wall())

    async def _once(self, claim: FiringClaim, standing: RunStatus) -> Ended:
        match standing.state:
            case State.FINISHED:
                return Ended(standing.exit_code if standing.exit_code is not None else int(Exit.OK))
            case State.HELD:
                return Ended(int(Exit.GUARD), reason="another process is carrying the run out")
            case State.UNREADABLE:
                return Ended(int(Exit.USAGE), reason="its audit log can't be read, so it can't be gone on with")
            case State.ALTERED:
                hint = f"see `orchestrator audit verify {claim.run_id}`"
                return Ended(int(Exit.USAGE), reason=f"its audit log was altered, so it can't be gone on with; {hint}")
        try:
            if standing.state is State.UNFINISHED:
                return await self._runner.resume(claim, self._stop)
            watched = self._roster.watched.get(claim.playbook)
            if watched is None:
                return Ended(int(Exit.USAGE), reason="there is no valid playbook of that name with a schedule any more")
            return await self._runner.start(claim, watched.loaded, self._stop)
        except Exception as bug:  # noqa: BLE001 - a bug in one run must not end the others
            self._scribe.tell("firing.bug", run_id=claim.run_id, exc_info=bug, **_named(claim))
            return Ended(int(Exit.BUG), reason=f"a bug: {bug!r}; `orchestrator resume {claim.run_id}` goes on with it")

    async def _end(
        self, claim: FiringClaim, result: str, reason: str | None = None, exit_code: int | None = None
    ) -> None:
        about = {"run_id": claim.run_id, "result": result, "exit_code": exit_code, "reason": reason}
        await self._scribe.write("firing.ended", **_named(claim), **about)


def _result(ended: Ended) -> str:
    if ended.waits:
        return "snoozed"  # while it waited
    return "failed" if ended.exit_code in _NOTHING_CHANGED else "ran"


def _named(claim: FiringClaim) -> dict[str, object]:
    return {"playbook": claim.playbook, "planned": timestamp(claim.planned)}
