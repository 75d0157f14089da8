"""The service: looks at the folder, has the agenda decide, writes down what was decided, and then has it carried out.

A firing is claimed in the journal before its run begins, under the id that the run will have. So whenever the process
dies, the claim and the run's own audit log tell what is left to do, and no firing is carried out twice.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from orchestrator.errors import PlaybookError
from orchestrator.moment import parse_timestamp, timestamp
from orchestrator.outcome import Ending
from orchestrator.playbook.firings import Firing
from orchestrator.service.agenda import GRACE, LeaveOut, Miss, Step, coming, decide, due
from orchestrator.service.folder import Watched
from orchestrator.service.journal import Journal
from orchestrator.service.memory import Claim, Known, Mark
from orchestrator.service.overview import Overview, Row
from orchestrator.service.protocols import Clock, Runner, Stop, Tell
from orchestrator.service.roster import Look, Roster
from orchestrator.service.runs import Runs
from orchestrator.service.scribe import Scribe
from orchestrator.service.snoozes import Snoozed

LOOK_EVERY = 2.0
"""Seconds; edits, snoozes and clocks that were set are seen after this at the latest."""
_LOOK_AGAIN = timedelta(hours=1)
"""When a schedule that has no firing within a year is looked at again."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class _Coming:
    """What was found to come next, and for what that holds."""

    watched: Watched
    mark: Mark
    firing: Firing | None
    at: datetime

    def holds(self, watched: Watched, mark: Mark, now: datetime) -> bool:
        """Whether nothing is due for that reason."""
        if self.watched is not watched or self.mark != mark or now < self.at:
            return False
        return now < (self.at + _LOOK_AGAIN if self.firing is None else self.firing.moment)


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
        self._scribe = Scribe(journal, tell)
        self._roster = Roster(look, snoozes, self._scribe)
        self._runner, self._clock = runner, clock
        self._resume_within, self._look_every = resume_within, look_every
        self._stop, self._wake = Stop(), anyio.Event()
        self._runs: Runs | None = None
        self._coming: dict[str, _Coming] = {}
        self._broken: dict[str, str] = {}
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
            await self._roster.look()
            self._scribe.tell("service.watching", schedules=len(self._roster.watched))
            await runs.recover()
            while not self._stop.wanted.is_set():
                await self._round(runs)
                await self._sleep()
            self._scribe.tell("service.stopping", running=len(runs.running))
        return runs.left

    def stop(self, ending: Ending) -> None:
        """Begin no more firings; what runs sends nothing more, and watches what was sent."""
        self._stop.want(ending)
        self._look_up()

    def _look_up(self) -> None:
        self._wake.set()

    async def _sleep(self) -> None:
        seconds = self._look_every
        soonest = min((each.firing.moment for each in self._coming.values() if each.firing), default=None)
        if soonest is not None and self._scribe.failure is None:
            seconds = min(seconds, max((soonest - self._clock.wall()).total_seconds(), 0.01))
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _round(self, runs: Runs) -> None:
        await self._roster.look()
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
        try:
            found = due(watched.timetable, known.mark, known.decided, now)
        except PlaybookError as error:
            self._coming[name] = _Coming(watched, known.mark, None, now)
            if self._broken.get(name) != str(error):
                self._broken[name] = str(error)
                self._scribe.tell("playbook.invalid", file=watched.file, error=str(error), hint=error.hint, keeps=None)
            return
        self._broken.pop(name, None)
        snooze, waits = self._roster.snooze_of(name), bool(runs.waiting(name))
        for step in decide(watched.timetable, found, now, snooze, runs=name in runs.running, waits=waits):
            await self._take(watched, step, now, runs)
        # Only now: what could not be written down is still due.
        self._coming[name] = _Coming(watched, known.mark, found.coming, now)
        if seen is None or seen.watched is not watched:
            starts = None if found.coming is None else timestamp(found.coming.moment)
            self._scribe.tell("schedule.watched", playbook=name, next=starts)

    async def _hold_to_the_clock(self, name: str, known: Known, now: datetime) -> None:
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
        elif isinstance(step, LeaveOut):
            planned = timestamp(step.firing.planned)
            await write("firing.left_out", playbook=name, planned=planned, reason=step.reason, count=step.count)
        else:
            claim = Claim(
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
        known, seen = self._scribe.memory.playbooks[name], self._coming.get(name)
        snooze = self._roster.snooze_of(name)
        running = None if self._runs is None else self._runs.running.get(name)
        until = snooze.until if snooze is not None and now < snooze.until else None
        firing = seen.firing if seen is not None else None
        if firing is not None and until is not None and firing.planned < until:
            firing = coming(watched.timetable, known.mark, known.decided, until - _TICK)
        return Row(
            name=name,
            file=watched.file,
            timezone=watched.timetable.schedule.timezone,
            next=firing,
            snoozed_until=until,
            running=None if running is None else running.run_id,
            waiting=0 if self._runs is None else self._runs.waiting(name),
            last=known.last,
            last_success=known.last_success,
            error=self._broken.get(name),
        )
