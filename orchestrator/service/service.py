"""The service: scan the folder, decide, record the decision, start the run.

The journal records the claim of a firing, with its run id, before the run starts. After a crash the claim and the run's
audit log show the open work, so no firing runs twice.
"""

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
from anyio.abc import TaskGroup

from orchestrator.errors import OrchestratorError
from orchestrator.outcome import Ending
from orchestrator.playbook.firings import Firing
from orchestrator.runs.firing import FiringClaim
from orchestrator.runs.keeping import KeepReading
from orchestrator.runs.status import StopRequest
from orchestrator.service.folder import Fault, ScheduledPlaybook
from orchestrator.service.journal_writer import JournalWriter
from orchestrator.service.overview import Overview, Row
from orchestrator.service.protocols import EventSink, Journal, KeepSource, Runner, SnoozeReader, WallClock
from orchestrator.service.registry import ScanFolder, ScheduleRegistry
from orchestrator.service.runs import RunQueue
from orchestrator.service.scheduler import (
    GRACE,
    Decided,
    Miss,
    Skip,
    Snooze,
    Step,
    decide_firings,
    find_due_firings,
    find_success_due,
    forecast_next_firing,
    is_always_frozen,
)
from orchestrator.service.service_state import ScheduleState, Watermark
from orchestrator.times import parse_timestamp, timestamp

SCAN_INTERVAL = 2.0
"""Longest delay, in seconds, before an edit, a snooze or a changed clock takes effect."""
KEEP_INTERVAL = 10.0
"""Seconds between two readings of the exemptions."""
_FORECAST_AGAIN = timedelta(hours=1)
"""Time between two forecasts of a schedule without a firing within a year."""


@dataclass(frozen=True, slots=True)
class _NextDecision:
    """The next decision about a playbook, and its premises."""

    watched: ScheduledPlaybook
    mark: Watermark
    firing: Firing | None
    at: datetime

    def is_current(self, watched: ScheduledPlaybook, mark: Watermark, now: datetime) -> bool:
        """Return True if the facts are unchanged and the next decision is not due."""
        return self.watched is watched and self.mark == mark and self.at <= now < self.wakes_at

    @property
    def wakes_at(self) -> datetime:
        """Time of the next decision: the planned time of a firing, then its start time."""
        if self.firing is None:
            return self.at + _FORECAST_AGAIN
        return self.firing.planned if self.firing.planned > self.at else self.firing.moment


@dataclass(frozen=True, slots=True)
class _Forecast:
    """The forecast of the next firing, and its premises."""

    reasons: tuple[object, ...]
    firing: Firing | None
    at: datetime
    until: datetime


class Service:
    """Runs the schedules of a folder until stopped."""

    def __init__(
        self,
        *,
        scan: ScanFolder,
        snoozes: SnoozeReader,
        journal: Journal,
        runner: Runner,
        clock: WallClock,
        emit: EventSink,
        resume_within: timedelta = timedelta(hours=1),
        scan_interval: float = SCAN_INTERVAL,
        keeps: KeepSource | None = None,
    ) -> None:
        """Set up.

        Args:
            scan: scans the folder.
            snoozes: the store of the snoozes.
            journal: the journal of decisions.
            runner: executes runs.
            clock: the time of day.
            emit: receives all events.
            resume_within: a run interrupted longer ago is left to a person, unless `on_missed` is `run_once`.
            scan_interval: longest time between two scans of the folder, in seconds.
            keeps: reads the exemptions, for the overview; None without exemptions.
        """
        self._writer = JournalWriter(journal, emit)
        self._registry = ScheduleRegistry(scan, snoozes, self._writer, self._record_planned_firings)
        self._runner, self._clock = runner, clock
        self._resume_within, self._scan_interval = resume_within, scan_interval
        self._stop, self._wake = StopRequest(), anyio.Event()
        self._runs: RunQueue | None = None
        self._coming: dict[str, _NextDecision] = {}
        self._forecasts: dict[str, _Forecast] = {}
        self._success_due: dict[str, tuple[tuple[object, ...], datetime | None]] = {}
        self._began: datetime | None = None
        self._round_at: float | None = None
        self._keeps, self._kept = keeps, KeepReading()

    async def __call__(self) -> int:
        """Run until stopped, and until the active runs have ended.

        Returns:
            Number of firings left for the next start.
        """
        self._began = self._clock.wall()
        async with anyio.create_task_group() as group:
            self._runs = runs = RunQueue(
                group=group,
                runner=self._runner,
                registry=self._registry,
                writer=self._writer,
                clock=self._clock,
                stop=self._stop,
                resume_within=self._resume_within,
                ended=self._wake_up,
            )
            if self._keeps is not None:
                await self._read_keeps(self._keeps)
                group.start_soon(self._follow_keeps, self._keeps)
            await self._start_up(runs, group)
            while not self._stop.requested.is_set():
                await self._run_round(runs, group)
                await self._wait_for_next()
            self._registry.stop()
            self._writer.emit("service.stopping", running=len(runs.running))
        return runs.left

    async def _start_up(self, runs: RunQueue, group: TaskGroup) -> None:
        """Complete the first scan, without a time limit, then continue the claims of the previous process."""

        async def leave_when_stopped() -> None:
            await self._stop.requested.wait()
            self._registry.stop()

        async with anyio.create_task_group() as first:
            first.start_soon(leave_when_stopped)
            await self._registry.scan(group, math.inf)
            first.cancel_scope.cancel()
        if not self._stop.requested.is_set():
            self._writer.emit("service.watching", schedules=len(self._registry.watched))
            await runs.recover_claims()

    async def _follow_keeps(self, keeps: KeepSource) -> None:
        """Read the exemptions again and again: for the overview, and to have a last valid version of the file."""
        while not self._stop.requested.is_set():
            with anyio.move_on_after(KEEP_INTERVAL):
                await self._stop.requested.wait()
                return
            await self._read_keeps(keeps)

    async def _read_keeps(self, keeps: KeepSource) -> None:
        before, writer = self._kept, self._writer
        try:
            self._kept = found = await keeps()
        except OrchestratorError as error:
            writer.troubles.set("keep", f"the exemptions can't be read: {error}")
            return
        writer.troubles.set("keep", None)
        if found.broken is not None and (found.broken, found.fault) != (before.broken, before.fault):
            writer.emit("keep.broken", file=found.broken, reason=found.fault, note="the last valid version holds")
        elif found.broken is None and before.broken is not None:
            writer.emit("keep.mended", file=before.broken)

    def stop(self, ending: Ending) -> None:
        """Start no more firings; active runs send nothing more and watch the sent requests."""
        self._stop.request_end(ending)
        if self._runs is not None:
            self._runs.stop(ending)
        self._wake_up()

    def cancel_run(self, run_id: str, by: str) -> bool:
        """Cancel an active run of this process for good, as `RunQueue.cancel`."""
        return self._runs is not None and self._runs.cancel(run_id, by)

    def _wake_up(self) -> None:
        self._wake.set()

    async def _wait_for_next(self) -> None:
        seconds = self._scan_interval
        soonest = min((each.wakes_at for each in self._coming.values() if each.firing), default=None)
        if soonest is not None and self._writer.failure is None:
            seconds = min(seconds, max((soonest - self._clock.wall()).total_seconds(), 0.01))
        with anyio.move_on_after(seconds):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _run_round(self, runs: RunQueue, group: TaskGroup) -> None:
        await self._registry.scan(group)
        watched = self._registry.watched
        for name in {*self._coming} - {*watched}:
            del self._coming[name]
        for each in list(watched.values()):
            with suppress(OSError):  # Unwritten decisions are due again in the next round.
                await self._decide_playbook(each, runs)
        await runs.start_waiting()
        self._round_at = anyio.current_time()
        failure = self._writer.failure
        self._writer.troubles.set("journal", None if failure is None else f"the journal can't be written: {failure}")

    async def _decide_playbook(self, watched: ScheduledPlaybook, runs: RunQueue) -> None:
        name, now = watched.name, self._clock.wall()
        known, seen = self._writer.state.playbooks[name], self._coming.get(name)
        await self._check_clock(name, known, now)
        if seen is not None and seen.is_current(watched, known.mark, now):
            return
        found = find_due_firings(watched.timetable, Decided.of(known), now)
        waits, line = bool(runs.count_waiting(name)), watched.timetable.wakes or name
        is_blocked = name not in runs.running and runs.is_busy(line)
        steps = decide_firings(
            watched.timetable,
            found,
            now,
            self._registry.find_snooze(name),
            runs=name in runs.running or (is_blocked and waits),
            waits=waits,
            wake=self._registry.find_wake(name),
            is_blocked=is_blocked,
        )
        for step in steps:
            await self._apply_step(watched, step, now, runs)
        await self._record_planned(name, found.waiting)
        # Set only after the writes: unwritten decisions are still due.
        self._coming[name] = _NextDecision(watched, known.mark, found.coming, now)
        if seen is None or seen.watched is not watched:
            starts = None if found.coming is None else timestamp(found.coming.moment)
            self._writer.emit("schedule.watched", playbook=name, next=starts)
            if is_always_frozen(watched.timetable, now):
                note = "every firing within a year is frozen; change the schedule or the freeze"
                self._writer.emit("schedule.frozen", playbook=name, note=note)

    async def _record_planned_firings(self, watched: ScheduledPlaybook) -> None:
        """Record the planned firings of an old version; a new version then moves no firing."""
        found = find_due_firings(
            watched.timetable, Decided.of(self._writer.state.playbooks[watched.name]), self._clock.wall()
        )
        await self._record_planned(watched.name, (*found.in_time, *found.waiting))

    async def _record_planned(self, name: str, planned: Iterable[Firing]) -> None:
        for firing in planned:
            if firing.planned not in self._writer.state.playbooks[name].kept:
                moments = {"planned": timestamp(firing.planned), "moment": timestamp(firing.moment)}
                await self._writer.write("firing.planned", playbook=name, **moments)

    async def _check_clock(self, name: str, known: ScheduleState, now: datetime) -> None:
        """Move the watermark back after the clock was set back; later decisions stay valid."""
        if now >= known.mark.planned_after - GRACE:
            return
        to = now if known.forgotten is None else max(now, parse_timestamp(known.forgotten))
        if to < known.mark.planned_after:
            before = timestamp(known.mark.planned_after)
            await self._writer.write("clock.set_back", playbook=name, before=before, to=timestamp(to))

    async def _apply_step(self, watched: ScheduledPlaybook, step: Step, now: datetime, runs: RunQueue) -> None:
        name, write = watched.name, self._writer.write
        if isinstance(step, Miss):
            first, last = timestamp(step.first.planned), timestamp(step.last.planned)
            await write("firing.missed", playbook=name, first=first, planned=last, count=step.count)
        elif isinstance(step, Skip):
            planned = timestamp(step.firing.planned)
            more = {} if step.detail is None else {"detail": step.detail}
            await write("firing.left_out", playbook=name, planned=planned, reason=step.reason, count=step.count, **more)
        else:
            claim = FiringClaim(
                name,
                step.firing.planned,
                step.firing.moment,
                await runs.find_unused_id(watched, now),
                missed=step.missed,
                run_once=watched.timetable.schedule.on_missed == "run_once",
                queued=step.waits,
                wakes=watched.timetable.wakes,
            )
            await runs.claim_firing(claim)

    def overview(self) -> Overview:
        """Return the current state of the service."""
        now = self._clock.wall()
        return Overview(
            now=now,
            began=self._began,
            rows=tuple(self._build_row(watched, now) for _, watched in sorted(self._registry.watched.items())),
            faults=(*self._registry.faults, *self._list_keep_faults()),
            troubles=self._writer.troubles.reasons,
            stopping=self._stop.requested.is_set(),
            round_at=self._round_at,
            kept=self._kept.entries,
        )

    def _list_keep_faults(self) -> list[Fault]:
        found = self._kept
        hint = "correct the file: a restarted service has no valid version"
        return [] if found.broken is None else [Fault(found.broken, found.fault, hint, "keep.file")]

    def _build_row(self, watched: ScheduledPlaybook, now: datetime) -> Row:
        name = watched.name
        known, snooze = self._writer.state.playbooks[name], self._registry.find_snooze(name)
        running = None if self._runs is None else self._runs.running.get(name)
        return Row(
            name=name,
            file=watched.file,
            timezone=watched.timetable.schedule.timezone,
            next=self._forecast_next(watched, known, now),
            snoozed_until=snooze.until if snooze is not None and now < snooze.until else None,
            running=None if running is None else running.run_id,
            waiting=0 if self._runs is None else self._runs.count_waiting(name),
            last=known.last,
            last_success=known.last_success,
            success_due=self._find_success_due(watched, known.awaited_since or known.mark.planned_after, snooze),
            workspaces=tuple(watched.loaded.playbook.workspaces or ()),
            sha256=watched.loaded.sha256,
            wakes=watched.timetable.wakes,
        )

    def _find_success_due(self, watched: ScheduledPlaybook, since: datetime, snooze: Snooze | None) -> datetime | None:
        """Find the next firing expected to succeed; only after a change, since a year of frozen firings takes long."""
        reasons = (watched, since, snooze)
        before = self._success_due.get(watched.name)
        if before is None or before[0] != reasons:
            before = self._success_due[watched.name] = reasons, find_success_due(watched.timetable, since, snooze)
        return before[1]

    def _forecast_next(self, watched: ScheduledPlaybook, known: ScheduleState, now: datetime) -> Firing | None:
        """Forecast the next firing; repeated only after a change or after that firing."""
        snooze = self._registry.find_snooze(watched.name)
        reasons = (watched, known.mark, len(known.kept), next(reversed(known.decided), None), snooze)
        before = self._forecasts.get(watched.name)
        if before is not None and before.reasons == reasons and before.at <= now < before.until:
            return before.firing
        firing = forecast_next_firing(watched.timetable, Decided.of(known), snooze, now)
        until = now + _FORECAST_AGAIN if firing is None else firing.moment
        self._forecasts[watched.name] = _Forecast(reasons, firing, now, until)
        return firing
