"""What is to be done about a playbook's firings at a moment: the service's decisions. Pure; time is an argument.

`foresee` says what comes next and what is left out, for the service, its page and the command line alike.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from typing import Literal

from orchestrator.moment import timestamp
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
from orchestrator.playbook.schedule import load_zone
from orchestrator.service.service_state import ScheduleState, Watermark

GRACE = timedelta(minutes=1)
"""A firing that is seen up to this much later than it was to happen is in time; later, it was missed."""
COUNTED = 2000
"""So many missed firings are counted; more than that are told as this many."""
_LOOK_BACK = timedelta(days=400)
"""What was missed longer ago than this is over."""
_TICK = timedelta(microseconds=1)
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), _LOOK_BACK)


@dataclass(frozen=True, slots=True)
class Snooze:
    """A time in which a playbook does not fire.

    Attributes:
        begins: from then on.
        until: and before then.
    """

    begins: datetime
    until: datetime

    def covers(self, planned: datetime, now: datetime) -> bool:
        """Whether a firing that is looked at now is to be left out: nothing begins while the snooze lasts."""
        return now < self.until or self.begins <= planned < self.until


@dataclass(frozen=True, slots=True)
class Decided:
    """Which firings of a playbook are decided, and which are planned.

    Attributes:
        mark: how far all of them are decided.
        one_by_one: those that were decided beyond that, by their moments as text.
        kept: those whose planned time has come, by that time: when each happens. An edit moves none of them.
    """

    mark: Watermark
    one_by_one: Container[str] = ()
    kept: Mapping[datetime, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, known: ScheduleState) -> "Decided":
        """What the journal says."""
        return cls(known.mark, known.decided, known.kept)

    def is_open(self, firing: Firing) -> bool:
        """Whether nothing is decided of this one."""
        if timestamp(firing.planned) in self.one_by_one:
            return False
        if firing.planned in self.kept:
            return True
        return firing.planned > self.mark.planned_after and firing.moment > self.mark.moment_after


NOTHING_DECIDED = Decided(Watermark(datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)))
"""Of a playbook that no service knows."""


@dataclass(frozen=True, slots=True)
class DueFiring:
    """The firings of one playbook on which is to be decided now.

    Attributes:
        missed: those that are late, oldest first; of very many the last ones.
        in_time: those that are not, oldest first.
        count: how many were missed.
        waiting: those whose planned time has come and whose moment has not, by moment.
        days_off: those whose planned time had come before their day became a day off.
        coming: the first after them; None where none is so soon.
    """

    missed: tuple[Firing, ...] = ()
    in_time: tuple[Firing, ...] = ()
    count: int = 0
    waiting: tuple[Firing, ...] = ()
    days_off: tuple[Firing, ...] = ()
    coming: Firing | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Carry this firing out: now, or after the run before it.

    Attributes:
        firing: which.
        missed: how many missed ones it stands for, itself among them where it was missed.
        waits: whether the run before it still goes on.
    """

    firing: Firing
    missed: int = 0
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave this firing out.

    Attributes:
        firing: which; the last, where there are several.
        reason: why.
        count: how many there are.
    """

    firing: Firing
    reason: Literal["snoozed", "overlap", "day_off"]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Miss:
    """Let these firings go: they were missed, and the schedule does not make up for that.

    Attributes:
        first: the first of them.
        last: the last of them.
        count: how many there are.
    """

    first: Firing
    last: Firing
    count: int


Step = Start | Skip | Miss


def due(timetable: Timetable, decided: Decided, now: datetime) -> DueFiring:
    """What is due of a playbook, and what comes next.

    Args:
        timetable: its schedule.
        decided: what was decided of it.
        now: the time of day.
    """
    start = max(decided.mark.planned_after + _TICK, now - _LOOK_BACK)
    past = list(islice(_open(timetable, decided, start, now + _TICK), COUNTED + 1))
    count = sum(now - each.moment > GRACE for each in past)
    if len(past) > COUNTED:
        count = COUNTED
        tries = (list(_open(timetable, decided, max(start, now - back), now + _TICK)) for back in _WINDOWS)
        past = [past[0], *next((found for found in tries if found), [])]
    waiting = sorted((each for each in past if each.moment > now), key=lambda each: each.moment)
    past = [each for each in past if each.moment <= now]
    kept = (_as_kept(timetable, *each) for each in sorted(decided.kept.items()))
    return DueFiring(
        missed=tuple(each for each in past if now - each.moment > GRACE),
        in_time=tuple(each for each in past if now - each.moment <= GRACE),
        count=count,
        waiting=tuple(waiting),
        days_off=tuple(each for each in kept if decided.is_open(each) and _day_off(timetable, each) is not None),
        coming=min([*waiting[:1], *_next_planned(timetable, decided, now)], key=lambda each: each.moment, default=None),
    )


def foresee(
    timetable: Timetable,
    decided: Decided,
    snooze: Snooze | None,
    now: datetime,
    *,
    end: datetime,
    start: datetime | None = None,
) -> Iterator[Firing | LeftOut]:
    """What happens, and what is left out and why, in the order of their planned times.

    This holds as long as nobody edits, snoozes, or sets the clock.

    Args:
        timetable: the schedule.
        decided: what was decided of it.
        snooze: the playbook's snooze, if it has one.
        now: the time of day. What happened before then is listed as the schedule has it.
        end: nothing is listed that is planned then or later.
        start: nothing is listed that is planned before then; by default nothing that has happened by now.
    """
    first = start
    if first is None:
        first = min([now - timedelta(seconds=timetable.schedule.jitter), *decided.kept])
    for each in _merged(timetable, decided, first, end):
        found = _foreseen(timetable, decided, snooze, now, each) if isinstance(each, Firing) else each
        if found is not None and (start is not None or max(found.planned, found.moment or found.planned) >= now):
            yield found


def foresee_next(timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime) -> Firing | None:
    """The first firing that happens after now; None where none does within a year."""
    found = [
        each
        for each in foresee(timetable, decided, snooze, now, end=now + _TICK)
        if isinstance(each, Firing) and each.moment > now
    ]
    # What is planned later and before the end of the snooze is left out, however long its jitter.
    after = now if snooze is None else max(now, snooze.until - _TICK)
    return min([*found, *_next_planned(timetable, decided, after)], key=lambda each: each.moment, default=None)


def success_due(timetable: Timetable, since: datetime, snooze: Snooze | None) -> datetime | None:
    """By when a run should have begun that then succeeds: the moment of the first firing after `since`.

    Days off and snoozed firings do not count; None where nothing fires within a year.
    """
    found = _next_planned(timetable, NOTHING_DECIDED, since)
    if found and snooze is not None and snooze.covers(found[0].planned, found[0].moment):
        found = _next_planned(timetable, NOTHING_DECIDED, max(since, snooze.until - _TICK))
    return found[0].moment if found else None


def _foreseen(
    timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime, firing: Firing
) -> Firing | LeftOut | None:
    """What comes of a firing; None where it happened before the clock was set back."""
    if firing.moment > now and timestamp(firing.planned) in decided.one_by_one:
        return None
    why_not = _why_not(timetable, decided, snooze, now, firing)
    if why_not is None:
        return firing
    return LeftOut(firing.planned, firing.local, firing.wanted, *why_not, moment=firing.moment)


def _why_not(
    timetable: Timetable, decided: Decided, snooze: Snooze | None, now: datetime, firing: Firing
) -> tuple[LeftOutCode, str] | None:
    if firing.moment > now and not decided.is_open(firing):
        return LeftOutCode.NOT_YET_ENABLED, "the schedule was enabled or changed after this was planned"
    off = _day_off(timetable, firing)
    if off is not None:
        return LeftOutCode.DAY_OFF, off
    if snooze is not None and firing.moment >= min(snooze.begins, now) and snooze.covers(firing.planned, firing.moment):
        until = snooze.until.astimezone(firing.local.tzinfo)
        return LeftOutCode.SNOOZED, f"snoozed until {until:%Y-%m-%d %H:%M}"
    return None


def _next_planned(timetable: Timetable, decided: Decided, after: datetime) -> list[Firing]:
    """The first open firing that is planned later than this; none where none is within a year."""
    start = max(decided.mark.planned_after, after) + _TICK
    while True:
        firing = find_next_firing(timetable, start)
        if firing is None or timestamp(firing.planned) not in decided.one_by_one:
            return [] if firing is None else [firing]
        start = firing.planned + _TICK


def _merged(timetable: Timetable, decided: Decided, start: datetime, end: datetime) -> Iterator[Firing | LeftOut]:
    """What the schedule says, and in place of it what was kept."""
    kept = [_as_kept(timetable, *each) for each in sorted(decided.kept.items()) if start <= each[0] < end]
    said = (each for each in list_firings(timetable, start, end) if each.planned not in decided.kept)
    return merge(kept, said, key=lambda each: each.planned)


def _open(timetable: Timetable, decided: Decided, start: datetime, end: datetime) -> Iterator[Firing]:
    first = min([start, *decided.kept])
    return (
        each
        for each in _merged(timetable, decided, first, end)
        if isinstance(each, Firing)
        and (each.planned >= start or each.planned in decided.kept)
        and decided.is_open(each)
        and _day_off(timetable, each) is None
    )


def _as_kept(timetable: Timetable, planned: datetime, moment: datetime) -> Firing:
    """A firing whose planned time had come, whatever the schedule says since."""
    local = planned.astimezone(load_zone(timetable.schedule.timezone))
    wanted = local.replace(tzinfo=None, fold=0)
    same = (each for each in list_firings(timetable, planned, planned + _TICK) if isinstance(each, Firing))
    firing = next(same, Firing(planned, local, wanted, moment, moment, ClockCase.PLAIN, ""))
    return replace(firing, moment=moment, latest=max(moment, firing.latest))


def _day_off(timetable: Timetable, firing: Firing) -> str | None:
    return find_day_off(timetable, firing.planned, firing.wanted.date()) if timetable.schedule.not_on else None


def decide(
    timetable: Timetable, due: DueFiring, now: datetime, snooze: Snooze | None, *, runs: bool, waits: bool
) -> list[Step]:
    """What to do, in order.

    Missed firings are made up for by one run, whatever their number; where one is in time, that one stands for them.

    Args:
        timetable: the schedule.
        due: what is due of it.
        now: the time of day.
        snooze: the playbook's snooze, if it has one.
        runs: whether a run of the playbook goes on.
        waits: whether a firing of it waits for that.
    """
    missed, snoozed = _parted(due.missed, snooze, now)
    in_time, snoozed_now = _parted(due.in_time, snooze, now)
    count = due.count - len(snoozed) if missed else 0
    steps: list[Step] = [Skip(each, "day_off") for each in due.days_off]
    if snoozed or snoozed_now:
        steps.append(Skip((snoozed + snoozed_now)[-1], "snoozed", len(snoozed) + len(snoozed_now)))
    wanted = [(each, 0) for each in in_time]
    if missed and timetable.schedule.on_missed == "skip":
        steps.append(Miss(missed[0], missed[-1], count))
    elif missed:
        wanted = [(in_time[0], count), *wanted[1:]] if in_time else [(missed[-1], count)]
    for firing, stands_for in wanted:
        if not runs:
            steps.append(Start(firing, stands_for))
            runs = True
        elif timetable.schedule.on_overlap == "queue" and not waits:
            steps.append(Start(firing, stands_for, waits=True))
            waits = True
        else:
            steps.append(Skip(firing, "overlap"))
    return steps


def _parted(found: Sequence[Firing], snooze: Snooze | None, now: datetime) -> tuple[list[Firing], list[Firing]]:
    """Those that are not snoozed, and those that are."""
    parts: tuple[list[Firing], list[Firing]] = [], []
    for each in found:
        parts[snooze is not None and snooze.covers(each.planned, now)].append(each)
    return parts
