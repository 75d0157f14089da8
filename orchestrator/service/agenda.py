"""What is to be done about a playbook's firings at a moment: the service's decisions. Pure; time is an argument."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal

from orchestrator.moment import timestamp
from orchestrator.playbook.firings import Firing, Timetable, firings, next_firing
from orchestrator.service.memory import Mark

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
class Due:
    """The firings of one playbook on which is to be decided now.

    Attributes:
        missed: those that are late, oldest first; of very many the last ones.
        in_time: those that are not, oldest first.
        count: how many were missed.
        coming: the first after them; None where none is so soon.
    """

    missed: tuple[Firing, ...] = ()
    in_time: tuple[Firing, ...] = ()
    count: int = 0
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
class LeaveOut:
    """Leave this firing out.

    Attributes:
        firing: which; the last, where there are several.
        reason: why.
        count: how many there are.
    """

    firing: Firing
    reason: Literal["snoozed", "overlap"]
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


Step = Start | LeaveOut | Miss


def due(timetable: Timetable, mark: Mark, decided: Container[str], now: datetime) -> Due:
    """What is due of a playbook, and what comes next.

    Args:
        timetable: its schedule.
        mark: how far its firings are decided.
        decided: those that were decided beyond that, by their moments as text.
        now: the time of day.

    Raises:
        PlaybookError: when a calendar that it names makes no sense.
    """
    start = max(mark.planned_after + _TICK, now - _LOOK_BACK)
    past = list(islice(_open(timetable, mark, decided, start, now + _TICK), COUNTED + 1))
    count = sum(now - each.moment > GRACE for each in past)
    if len(past) > COUNTED:
        count = COUNTED
        tries = (list(_open(timetable, mark, decided, max(start, now - back), now + _TICK)) for back in _WINDOWS)
        past = [past[0], *next((found for found in tries if found), [])]
    pending = next((each for each in past if each.moment > now), None)
    past = [each for each in past if each.moment <= now]
    return Due(
        missed=tuple(each for each in past if now - each.moment > GRACE),
        in_time=tuple(each for each in past if now - each.moment <= GRACE),
        count=count,
        coming=pending or coming(timetable, mark, decided, now),
    )


def coming(timetable: Timetable, mark: Mark, decided: Container[str], after: datetime) -> Firing | None:
    """The first open firing that is planned later than this; None where none is within a year."""
    start = max(mark.planned_after, after) + _TICK
    while True:
        firing = next_firing(timetable, start)
        if firing is None or timestamp(firing.planned) not in decided:
            return firing
        start = firing.planned + _TICK


def _open(
    timetable: Timetable, mark: Mark, decided: Container[str], start: datetime, end: datetime
) -> Iterator[Firing]:
    return (
        each
        for each in firings(timetable, start, end)
        if isinstance(each, Firing) and each.moment > mark.moment_after and timestamp(each.planned) not in decided
    )


def decide(
    timetable: Timetable, due: Due, now: datetime, snooze: Snooze | None, *, runs: bool, waits: bool
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
    steps: list[Step] = []
    if snoozed or snoozed_now:
        steps.append(LeaveOut((snoozed + snoozed_now)[-1], "snoozed", len(snoozed) + len(snoozed_now)))
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
            steps.append(LeaveOut(firing, "overlap"))
    return steps


def _parted(found: Sequence[Firing], snooze: Snooze | None, now: datetime) -> tuple[list[Firing], list[Firing]]:
    """Those that are not snoozed, and those that are."""
    parts: tuple[list[Firing], list[Firing]] = [], []
    for each in found:
        parts[snooze is not None and snooze.covers(each.planned, now)].append(each)
    return parts
