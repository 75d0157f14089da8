"""The service: looks at the folder, has the agenda decide, writes down what was decided, and then has it carried out.

A firing is claimed in the journal before its run begins, under the id that the run will have. So whenever the process
dies, the claim and the run's own audit log tell what is left to do, and no firing is carried out twice.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.outcome import Ending
from orchestrator.playbook.firings import Firing
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.status import Stop
from orchestrator.service.folder import Watched
from orchestrator.service.journal import Journal
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.overview import Overview, Row
from orchestrator.service.protocols import Clock, Runner, Tell
from orchestrator.service.registry import Look, ScheduleRegistry
from orchestrator.service.runs import Runs
from orchestrator.service.scheduler import GRACE, Decided, Miss, Skip, Step, decide, due, foresee_next, success_due
from orchestrator.service.service_state import ScheduleState, Watermark
from orchestrator.service.snoozes import Snoozed

LOOK_EVERY = 2.0
"""Seconds; edits, snoozes and clocks that were set are seen after this at the latest."""
_LOOK_AGAIN = timedelta(hours=1)
"""When a schedule that has no firing within a year is looked at again."""


@dataclass(frozen=True, slots=True)
class _Coming:
    """What was found to come next, and for what that holds."""

    watched: Watched
    mark: Watermark
    firing: Firing | None
    at: datetime

    def holds(self, watched: Watched, mark: Watermark, now: datetime) -> bool:
        """Whether nothing is due for that reason."""
        return self.watched is watched and self.mark == mark and self.at <= now < self.wakes

    @property
    def wakes(self) -> datetime:
        """When something is to be decided: at a firing's planned time, and at its moment."""
        if self.firing is None:
            return self.at + _LOOK_AGAIN
        return self.firing.planned if self.firing.planned > self.at else self.firing.moment


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """What was said to happen next, and for what that holds."""

    reasons: tuple[object, ...]
    firing: Firing | None
    at: datetime
    until: datetime


class Service:
    """Runs the schedules of a folder until told to stop."""

    def __init__(
        self,
        *,
        look: Look,
        snoozes: Callable[[], Mapping[str, Snoozed]],
        journal: Journal,
        runner: Runner,
        clock: Clock,
        tell: Tell,
        resume_within: timedelta = timedelta(hours=1),
        look_every: float = LOOK_EVERY,
    ) -> None:
        """Set up.

        Args:
            look: reads the folder.
            snoozes: reads the snoozes.
            journal: what was decided.
            runner: carries runs out.
            clock: the time of day.
            tell: told of what happens.
            resume_within: a run that was cut off longer ago is left to a person, unless its schedule makes up for what
                is late.
            look_every: seconds between two looks at the folder, at the most.
        """
        self._scribe = JournalWriter(journal, tell)
        self._roster = ScheduleRegistry(look, snoozes, self._scribe, self._keep_planned)
        self._runner, self._clock = runner, clock
        self._resume_within, self._look_every = resume_within, look_every
        self._stop, self._wake = Stop(), anyio.Event()
        self._runs: Runs | None = None
        self._coming: dict[str, _Coming] = {}
        self._foreseen: dict[str, _Foreseen] = {}
        self._began: datetime | None = None
        self._round_at: float | None = None

    async def __call__(self) -> int:
        """Go on until told to stop, and until what runs has come to its end.

        Returns:
            How many firings are left to be taken up at the next start.
        """
        self._began = self._clock.wall()
        async with anyio.create_task_group() as group:
            self._runs = runs = Runs(
                group=group,
                runner=self._runner,
                roster=self._roster,
                scribe=self._scribe,
                clock=self._clock,
                stop=self._stop,
                resume_within=self._resume_within,
                ended=self._look_up,
            )
            await self._begin(runs, group)
            while not self._stop.wanted.is_set():
                await self._round(runs, group)
                await self._sleep()
            self._roster.stop()
            self._scribe.tell("service.stopping", running=len(runs.running))
        return runs.left

    async def _begin(self, runs: Runs, group: TaskGroup) -> None:
        """Look at the folder for the first time, however long that takes, and take up what an earlier process left."""

        async def leave_when_stopped() -> None:
            await self._stop.wanted.wait()
            self._roster.stop()

        async with anyio.create_task_group() as first:
            first.start_soon(leave_when_stopped)
            await self._roster.look(group, math.inf)
            first.cancel_scope.cancel()
        if not self._stop.wanted.is_set():
            self._scribe.tell("service.watching", schedules=len(self._roster.watched))
            await runs.recover()

    def stop(self, ending: Ending) -> None:
        """Begin no more firings; what runs sends nothing more, and watches what was sent."""
        self._stop.want(ending)
        self._look_up()

    def _look_up(self) -> None:
        self._wake.set()

    async def _sleep(self) -> None:
        seconds = self._look_every
        soonest = min((each.wakes for each in self._coming.values() if each.firing), default=None)
        if soonest is not None and self._scribe.failure is None:
            seconds = min(seconds, max((soonest - self._clock.wall()).total_seconds(), 0.01))
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _round(self, runs: Runs, group: TaskGroup) -> None:
        await self._roster.look(group)
        watched = self._roster.watched
        for name in {*self._coming} - {*watched}:
            del self._coming[name]
        for each in list(watched.values()):
            with suppress(OSError):  # What could not be written down is due at the next round.
                await self._fire(each, runs)
        await runs.go_on()
        self._round_at = anyio.current_time()
        failure = self._scribe.failure
        self._scribe.note("journal", None if failure is None else f"the journal can't be written: {failure}")

    async def _fire(self, watched: Watched, runs: Runs) -> None:
        name, now = watched.name, self._clock.wall()
        known, seen = self._scribe.memory.playbooks[name], self._coming.get(name)
        await self._hold_to_the_clock(name, known, now)
        if seen is not None and seen.holds(watched, known.mark, now):
            return
        found = due(watched.timetable, Decided.of(known), now)
        snooze, waits = self._roster.snooze_of(name), bool(runs.waiting(name))
        for step in decide(watched.timetable, found, now, snooze, runs=name in runs.running, waits=waits):
            await self._take(watched, step, now, runs)
        await self._keep(name, found.waiting)
        # Only now: what could not be written down is still due.
        self._coming[name] = _Coming(watched, known.mark, found.coming, now)
        if seen is None or seen.watched is not watched:
            starts = None if found.coming is None else timestamp(found.coming.moment)
            self._scribe.tell("schedule.watched", playbook=name, next=starts)

    async def _keep_planned(self, watched: Watched) -> None:
        """Write down what is planned by a version that is to be replaced, so that the new one moves none of it."""
        found = due(watched.timetable, Decided.of(self._scribe.memory.playbooks[watched.name]), self._clock.wall())
        await self._keep(watched.name, (*found.in_time, *found.waiting))

    async def _keep(self, name: str, planned: Iterable[Firing]) -> None:
        for firing in planned:
            if firing.planned not in self._scribe.memory.playbooks[name].kept:
                moments = {"planned": timestamp(firing.planned), "moment": timestamp(firing.moment)}
                await self._scribe.write("firing.planned", playbook=name, **moments)

    async def _hold_to_the_clock(self, name: str, known: ScheduleState, now: datetime) -> None:
        """When the clock was set back, go on from there; what was decided beyond that stays decided."""
        if now >= known.mark.planned_after - GRACE:
            return
        to = now if known.forgotten is None else max(now, parse_timestamp(known.forgotten))
        if to < known.mark.planned_after:
            before = timestamp(known.mark.planned_after)
            await self._scribe.write("clock.set_back", playbook=name, before=before, to=timestamp(to))

    async def _take(self, watched: Watched, step: Step, now: datetime, runs: Runs) -> None:
        name, write = watched.name, self._scribe.write
        if isinstance(step, Miss):
            first, last = timestamp(step.first.planned), timestamp(step.last.planned)
            await write("firing.missed", playbook=name, first=first, planned=last, count=step.count)
        elif isinstance(step, Skip):
            planned = timestamp(step.firing.planned)
            await write("firing.left_out", playbook=name, planned=planned, reason=step.reason, count=step.count)
        else:
            claim = FiringClaim(
                name,
                step.firing.planned,
                step.firing.moment,
                runs.unused_id(now),
                missed=step.missed,
                run_once=watched.timetable.schedule.on_missed == "run_once",
                queued=step.waits,
            )
            await runs.add(claim)

    def overview(self) -> Overview:
        """What there is, what runs and what comes next."""
        now = self._clock.wall()
        return Overview(
            now=now,
            began=self._began,
            rows=tuple(self._row(watched, now) for _, watched in sorted(self._roster.watched.items())),
            faults=self._roster.faults,
            troubles=tuple(self._scribe.troubles.values()),
            stopping=self._stop.wanted.is_set(),
            round_at=self._round_at,
        )

    def _row(self, watched: Watched, now: datetime) -> Row:
        name = watched.name
        known, snooze = self._scribe.memory.playbooks[name], self._roster.snooze_of(name)
        running = None if self._runs is None else self._runs.running.get(name)
        return Row(
            name=name,
            file=watched.file,
            timezone=watched.timetable.schedule.timezone,
            next=self._next(watched, known, now),
            snoozed_until=snooze.until if snooze is not None and now < snooze.until else None,
            running=None if running is None else running.run_id,
            waiting=0 if self._runs is None else self._runs.waiting(name),
            last=known.last,
            last_success=known.last_success,
            success_due=success_due(watched.timetable, known.awaited_since or known.mark.planned_after, snooze),
        )

    def _next(self, watched: Watched, known: ScheduleState, now: datetime) -> Firing | None:
        """What happens next, looked for again only when something changed or its moment has come."""
        snooze = self._roster.snooze_of(watched.name)
        reasons = (watched, known.mark, len(known.kept), next(reversed(known.decided), None), snooze)
        before = self._foreseen.get(watched.name)
        if before is not None and before.reasons == reasons and before.at <= now < before.until:
            return before.firing
        firing = foresee_next(watched.timetable, Decided.of(known), snooze, now)
        until = now + _LOOK_AGAIN if firing is None else firing.moment
        self._foreseen[watched.name] = _Foreseen(reasons, firing, now, until)
        return firing
