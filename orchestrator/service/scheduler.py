"""The service's decisions about the firings of a playbook. Pure; time is an argument.

`forecast_firings` lists future firings and skipped firings, for the service, its page and the command line.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Literal

from orchestrator.playbook.firings import (
    ClockCase,
    Firing,
    LeftOut,
    LeftOutCode,
    Timetable,
    find_day_off,
    find_next_firing,
    list_firings,
)
from orchestrator.playbook.freeze import find_block, find_free_moment
from orchestrator.playbook.schedule import load_zone
from orchestrator.service.service_state import ScheduleState, Watermark
from orchestrator.times import timestamp

GRACE = timedelta(minutes=1)
"""A firing up to this much late is in time; a later firing is missed."""
COUNTED = 2000
"""Highest count of missed firings; more are reported as this number."""
_LOOK_BACK = timedelta(days=400)
"""Older missed firings are ignored."""
_TICK = timedelta(microseconds=1)
_YEAR = timedelta(days=366)
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), _LOOK_BACK)


@dataclass(frozen=True, slots=True)
class Snooze:
    """A period without firings of a playbook.

    Attributes:
        begins: start of the period.
        until: end of the period, excluded.
    """

    begins: datetime
    until: datetime

    def covers(self, planned: datetime, now: datetime) -> bool:
        """Check if a firing is to be skipped now: no run starts during a snooze."""
        return now < self.until or self.begins <= planned < self.until


@dataclass(frozen=True, slots=True)
class Snoozed:
    """A stored snooze.

    Attributes:
        snooze: the period.
        by: the person, user@host.
    """

    snooze: Snooze
    by: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The decided and the planned firings of a playbook.

    Attributes:
        mark: watermark; all firings up to there are decided.
        one_by_one: decided firings beyond the watermark, by planned time as text.
        kept: start times of firings with a past planned time, by planned time. An edit does not move these firings.
    """

    mark: Watermark
    one_by_one: Container[str] = ()
    kept: Mapping[datetime, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, known: ScheduleState) -> "Decided":
        """Return the decisions recorded in the journal."""
        return cls(known.mark, known.decided, known.kept)

    def is_open(self, firing: Firing) -> bool:
        """Check for a firing without a decision."""
        if timestamp(firing.planned) in self.one_by_one:
            return False
        if firing.planned in self.kept:
            return True
        return firing.planned > self.mark.planned_after and firing.moment > self.mark.moment_after


NOTHING_DECIDED = Decided(Watermark(datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)))
"""No decisions: for a playbook unknown to the service."""


@dataclass(frozen=True, slots=True)
class DueFiring:
    """The due firings of a playbook.

    Attributes:
        missed: the missed firings, oldest first; of very many, only the last.
        in_time: the firings in time, oldest first.
        count: number of missed firings.
        waiting: firings between their planned time and their start time (jitter), by start time.
        days_off: firings with a past planned time on a day that became a day off since.
        coming: the next firing; None without a firing soon.
    """

    missed: tuple[Firing, ...] = ()
    in_time: tuple[Firing, ...] = ()
    count: int = 0
    waiting: tuple[Firing, ...] = ()
    days_off: tuple[Firing, ...] = ()
    coming: Firing | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Decision: start a run for this firing, now or after the active run.

    Attributes:
        firing: the firing.
        missed: number of missed firings replaced by this run, including itself if missed.
        waits: whether an earlier run is still active.
    """

    firing: Firing
    missed: int = 0
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Decision: skip firings.

    Attributes:
        firing: the firing, or the last of several firings.
        reason: code of the reason.
        count: number of firings.
        detail: the reason in words, if not clear from the code.
    """

    firing: Firing
    reason: Literal["snoozed", "overlap", "day_off", "frozen", "wake_due"]
    count: int = 1
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Miss:
    """Decision: drop missed firings, because `on_missed` is `skip`.

    Attributes:
        first: the first missed firing.
        last: the last missed firing.
        count: number of missed firings.
    """

    first: Firing
    last: Firing
    count: int


Step = Start | Skip | Miss


def find_due_firings(timetable: Timetable, decided: Decided, now: datetime) -> DueFiring:
    """Find the due firings of a playbook, and the next firing.

    Args:
        timetable: timetable of the playbook.
        decided: the decided firings.
        now: the time of day.
    """
    start = max(decided.mark.planned_after + _TICK, now - _LOOK_BACK)
    past = list(islice(_list_open(timetable, decided, start, now + _TICK), COUNTED + 1))
    count = sum(now - each.moment > GRACE for each in past)
    if len(past) > COUNTED:
        count = COUNTED
        tries = (list(_list_open(timetable, decided, max(start, now - back), now + _TICK)) for back in _WINDOWS)
        past = [past[0], *next((found for found in tries if found), [])]
    waiting = sorted((each for each in past if each.moment > now), key=lambda each: each.moment)
    past = [each for each in past if each.moment <= now]
    kept = (_build_kept(timetable, *each) for each in sorted(decided.kept.items()))
    return DueFiring(
        missed=tuple(each for each in past if now - each.moment > GRACE),
        in_time=tuple(each for each in past if now - each.moment <= GRACE),
        count=count,
        waiting=tuple(waiting),
        days_off=tuple(each for each in kept if decided.is_open(each) and _find_day_off(timetable, each) is not None),
        coming=min(
            [*waiting[:1], *_find_next_planned(timetable, decided, now)], key=lambda each: each.moment, default=None
        ),
    )


def forecast_firings(
    timetable: Timetable,
    decided: Decided,
    snooze: Snooze | None,
    now: datetime,
    *,
    end: datetime,
    start: datetime | None = None,
) -> Iterator[Firing | LeftOut]:
    """Forecast firings and skipped firings, in the order of their planned times.

    The forecast assumes no edits, no new snoozes, and no change of the clock.

    Args:
        timetable: timetable of the playbook.
        decided: the decided firings.
        snooze: the snooze of the playbook; None without a snooze.
        now: the time of day. Earlier firings are listed by the schedule alone.
        end: end of the planned times, excluded.
        start: start of the planned times; None for only future firings.
    """
    first = start
    if first is None:
        first = min([now - timedelta(seconds=timetable.schedule.jitter), *decided.kept])
    for each in _merge_kept(timetable, decided, first, end):
        found = _forecast_firing(timetable, decided, snooze, now, each) if isinstance(each, Firing) else each
        if found is not None and (start is not None or max(found.planned, found.moment or found.planned) >= now):
            yield found


def forecast_next_firing(timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime) -> Firing | None:
    """Forecast the next firing after now; None without a firing within a year."""
    found = [
        each
        for each in forecast_firings(timetable, decided, snooze, now, end=now + _TICK)
        if isinstance(each, Firing) and each.moment > now
    ]
    # Firings planned before the end of the snooze are skipped, whatever their jitter.
    after = now if snooze is None else max(now, snooze.until - _TICK)
    return min([*found, *_find_next_free(timetable, decided, after)], key=lambda each: each.moment, default=None)


def find_success_due(timetable: Timetable, since: datetime, snooze: Snooze | None) -> datetime | None:
    """Find the start time of the next firing expected to succeed: the first after `since`.

    Days off, snoozed and frozen firings do not count. None without a firing within a year.
    """
    found = _find_next_free(timetable, NOTHING_DECIDED, since)
    if found and snooze is not None and snooze.covers(found[0].planned, found[0].moment):
        found = _find_next_free(timetable, NOTHING_DECIDED, max(since, snooze.until - _TICK))
    return found[0].moment if found else None


def is_always_frozen(timetable: Timetable, now: datetime) -> bool:
    """Check for a schedule with firings within a year, and a freeze at every firing."""
    if not timetable.freezes or find_next_firing(timetable, now) is None:
        return False
    return not _find_next_free(timetable, NOTHING_DECIDED, now)


def _forecast_firing(
    timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime, firing: Firing
) -> Firing | LeftOut | None:
    """Forecast the result of a firing; None if decided before the clock was set back."""
    if firing.moment > now and timestamp(firing.planned) in decided.one_by_one:
        return None
    why_not = _find_skip_reason(timetable, decided, snooze, now, firing)
    if why_not is None:
        return firing
    return LeftOut(firing.planned, firing.local, firing.wanted, *why_not, moment=firing.moment, is_wake=firing.is_wake)


def _find_skip_reason(
    timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime, firing: Firing
) -> tuple[LeftOutCode, str] | None:
    if firing.moment > now and not decided.is_open(firing):
        return LeftOutCode.NOT_YET_ENABLED, "the schedule was enabled or changed after this firing was planned"
    off = _find_day_off(timetable, firing)
    if off is not None:
        return LeftOutCode.DAY_OFF, off
    if snooze is not None and firing.moment >= min(snooze.begins, now) and snooze.covers(firing.planned, firing.moment):
        until = snooze.until.astimezone(firing.local.tzinfo)
        return LeftOutCode.SNOOZED, f"snoozed until {until:%Y-%m-%d %H:%M}"
    frozen = find_block(timetable.freezes, firing.moment)
    return None if frozen is None else (LeftOutCode.FROZEN, frozen)


def _find_next_planned(timetable: Timetable, decided: Decided, after: datetime) -> list[Firing]:
    """Find the first open firing planned after this time; an empty list without a firing within a year."""
    start = max(decided.mark.planned_after, after) + _TICK
    while True:
        firing = find_next_firing(timetable, start)
        if firing is None or timestamp(firing.planned) not in decided.one_by_one:
            return [] if firing is None else [firing]
        start = firing.planned + _TICK


def _find_next_free(timetable: Timetable, decided: Decided, after: datetime) -> list[Firing]:
    """Find the first open firing planned after this time, outside of freezes; an empty list without a firing.

    With every firing frozen, the search ends a year after the first firing.
    """
    end: datetime | None = None
    while found := _find_next_planned(timetable, decided, after):
        end = end or found[0].planned + _YEAR
        free = find_free_moment(timetable.freezes, found[0].moment)
        if free is None or free == found[0].moment or free > end:
            return found if free == found[0].moment else []
        after = max(found[0].planned, free - timedelta(seconds=timetable.schedule.jitter) - _TICK)
    return []


def _merge_kept(timetable: Timetable, decided: Decided, start: datetime, end: datetime) -> Iterator[Firing | LeftOut]:
    """List the firings of the schedule, with kept firings in place of their recalculation."""
    kept = [_build_kept(timetable, *each) for each in sorted(decided.kept.items()) if start <= each[0] < end]
    said = (each for each in list_firings(timetable, start, end) if each.planned not in decided.kept)
    return merge(kept, said, key=lambda each: each.planned)


def _list_open(timetable: Timetable, decided: Decided, start: datetime, end: datetime) -> Iterator[Firing]:
    first = min([start, *decided.kept])
    return (
        each
        for each in _merge_kept(timetable, decided, first, end)
        if isinstance(each, Firing)
        and (each.planned >= start or each.planned in decided.kept)
        and decided.is_open(each)
        and _find_day_off(timetable, each) is None
    )


def _build_kept(timetable: Timetable, planned: datetime, moment: datetime) -> Firing:
    """Build a firing with a past planned time, unaffected by later edits of the schedule."""
    local = planned.astimezone(load_zone(timetable.schedule.timezone))
    wanted = local.replace(tzinfo=None, fold=0)
    same = (each for each in list_firings(timetable, planned, planned + _TICK) if isinstance(each, Firing))
    is_wake = timetable.wakes is not None
    firing = next(same, Firing(planned, local, wanted, moment, moment, ClockCase.PLAIN, "", is_wake))
    return replace(firing, moment=moment, latest=max(moment, firing.latest))


def _find_day_off(timetable: Timetable, firing: Firing) -> str | None:
    return find_day_off(timetable, firing.planned, firing.wanted.date()) if timetable.schedule.not_on else None


def is_wake_due(wake: Timetable | None, planned: datetime, now: datetime) -> bool:
    """Check for a wake after the planned time of a stop: a late stop would act within the office hours.

    Args:
        wake: the timetable of the wakes; None for a playbook without `wake`.
        planned: the planned time of the stop.
        now: the time of day.
    """
    if wake is None or now <= planned:
        return False
    return find_next_firing(wake, planned + _TICK, now - planned) is not None


def decide_firings(
    timetable: Timetable,
    due: DueFiring,
    now: datetime,
    snooze: Snooze | None,
    *,
    runs: bool,
    waits: bool,
    wake: Timetable | None = None,
    is_blocked: bool = False,
) -> list[Step]:
    """Decide the due firings of a playbook, in order.

    One run replaces all missed firings; a firing in time replaces them as well.

    Args:
        timetable: timetable of the playbook.
        due: the due firings.
        now: the time of day.
        snooze: the snooze of the playbook; None without a snooze.
        runs: whether a run of the playbook is active.
        waits: whether a firing of the playbook is in the queue.
        wake: the timetable of the playbook's wakes; None without `wake`.
        is_blocked: whether a stop waits for a wake of the playbook, or a wake for a stop.
    """
    missed, snoozed = _split_snoozed(due.missed, snooze, now)
    in_time, snoozed_now = _split_snoozed(due.in_time, snooze, now)
    frozen_then = [each for each in missed if find_block(timetable.freezes, each.moment) is not None]
    missed = [each for each in missed if each not in frozen_then] if frozen_then else missed
    count = due.count - len(snoozed) - len(frozen_then) if missed else 0
    steps: list[Step] = [Skip(each, "day_off") for each in due.days_off]
    if snoozed or snoozed_now:
        steps.append(Skip((snoozed + snoozed_now)[-1], "snoozed", len(snoozed) + len(snoozed_now)))
    if frozen_then:
        detail = find_block(timetable.freezes, frozen_then[-1].moment)
        steps.append(Skip(frozen_then[-1], "frozen", len(frozen_then), detail))
    if missed and timetable.schedule.on_missed == "run_once" and is_wake_due(wake, missed[-1].planned, now):
        steps.append(Skip(missed[-1], "wake_due", count))
        missed = []
    wanted = [(each, 0) for each in in_time]
    if missed and timetable.schedule.on_missed == "skip":
        steps.append(Miss(missed[0], missed[-1], count))
    elif missed:
        wanted = [(in_time[0], count), *wanted[1:]] if in_time else [(missed[-1], count)]
    frozen = find_block(timetable.freezes, now)
    for firing, stands_for in wanted:
        if frozen is not None:
            steps.append(Skip(firing, "frozen", max(1, stands_for), frozen))
        elif not runs:
            steps.append(Start(firing, stands_for, waits=is_blocked))
            runs, waits = True, waits or is_blocked
        elif timetable.schedule.on_overlap == "queue" and not waits:
            steps.append(Start(firing, stands_for, waits=True))
            waits = True
        else:
            steps.append(Skip(firing, "overlap"))
    return sorted(steps, key=_find_last_planned) if frozen_then else steps


def _find_last_planned(step: Step) -> datetime:
    return step.last.planned if isinstance(step, Miss) else step.firing.planned


def _split_snoozed(found: Sequence[Firing], snooze: Snooze | None, now: datetime) -> tuple[list[Firing], list[Firing]]:
    """Split firings into firings without a snooze and snoozed firings."""
    parts: tuple[list[Firing], list[Firing]] = [], []
    for each in found:
        parts[snooze is not None and snooze.covers(each.planned, now)].append(each)
    return parts
