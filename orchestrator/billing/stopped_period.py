"""When which CVM stood still: from the moment at which its compute ended to the next start that is on record. Pure.

A force stop ends it when it is accepted, a shutdown when the CVM is seen down; `reconcile` reckons with the same.

What is known is what logs tell. Between two runs a CVM may be started by anybody: then it stands still until the first
reading that shows it running, which is later than its start. Such an end is *seen*, not *started*.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from orchestrator.cvm import CvmRef, normal_uuid

LAG = timedelta(seconds=2)
"""By how much a list may lag behind a status that was read on its own."""

GPU_MINIMUM = timedelta(hours=24)
"""What every start of a CVM with GPUs is charged up front."""


@dataclass(frozen=True, slots=True)
class WentDown:
    """A run took a CVM that was up down, and saw it there.

    Attributes:
        cloud: the URL of the API, without which a CVM's id says nothing.
        ref: the CVM.
        at: when its compute ended.
        seen: when its status was read as down.
        run_id: the run.
        playbook: the run's playbook.
        compute: what its compute costs, in USD per hour; None where unknown.
        storage: what its storage costs, in USD per hour; None where unknown.
        has_gpus: whether its starts are charged a 24-hour minimum.
    """

    cloud: str
    ref: CvmRef
    at: datetime
    seen: datetime
    run_id: str
    playbook: str
    compute: Decimal | None
    storage: Decimal | None
    has_gpus: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """A start or restart of a CVM was accepted.

    Attributes:
        cloud: the URL of the API.
        ref: the CVM.
        at: when.
    """

    cloud: str
    ref: CvmRef
    at: datetime


@dataclass(frozen=True, slots=True)
class SeenUp:
    """A CVM was seen running.

    Attributes:
        cloud: the URL of the API.
        ref: the CVM.
        at: when that was written down.
        read_after: the reading was begun no earlier than this.
    """

    cloud: str
    ref: CvmRef
    at: datetime
    read_after: datetime


@dataclass(frozen=True, slots=True)
class SeenGone:
    """A CVM was found deleted.

    Attributes:
        cloud: the URL of the API.
        ref: the CVM.
        at: when.
    """

    cloud: str
    ref: CvmRef
    at: datetime


Power: TypeAlias = WentDown | Started | SeenUp | SeenGone
"""Something that a log tells of whether a CVM runs."""


class End(StrEnum):
    """How a standstill ended."""

    STARTED = "started"
    """A start or restart of a run was accepted."""
    SEEN = "seen"
    """Somebody started it in between: the moment is the first at which it was seen running, later than its start."""
    DELETED = "deleted"
    """It was found deleted."""
    OPEN = "open"
    """No end is on record: it lasts until now."""


@dataclass(frozen=True, slots=True)
class StoppedPeriod:
    """A CVM stood still.

    Attributes:
        cvm: a number that this CVM has and no other.
        stop: how it began.
        begin: when.
        end: until when.
        how: how it ended.
        minimum_left: how much was left of the 24 hours that its last start on record was charged for up front.
    """

    cvm: int
    stop: WentDown
    begin: datetime
    end: datetime
    how: End
    minimum_left: timedelta = timedelta(0)


def standstills(story: Iterable[Power], now: datetime) -> list[StoppedPeriod]:
    """Every standstill that these events tell of, in the order of their beginnings.

    A second stop without a start in between begins nothing: the first one holds. What lies after `now` is left out.
    """
    known = [event for event in story if event.at <= now]
    found: list[StoppedPeriod] = []
    for number, events in enumerate(_by_cvm(known)):
        events.sort(key=lambda event: (event.at, isinstance(event, WentDown)))
        found += _of_one(number, events, now)
    return sorted(found, key=lambda each: (each.begin, each.cvm))


def _of_one(number: int, events: Iterable[Power], now: datetime) -> Iterable[StoppedPeriod]:
    stop: WentDown | None = None
    left, last_start = timedelta(0), None
    for event in events:
        if isinstance(event, WentDown):
            if stop is None:
                stop, left = event, _minimum_left(event, last_start)
            last_start = None
            continue
        if isinstance(event, Started):
            last_start = event.at
        if stop is not None and not (isinstance(event, SeenUp) and event.read_after < stop.seen + LAG):
            yield StoppedPeriod(number, stop, stop.at, event.at, _HOW[type(event)], left)
            stop = None
    if stop is not None:
        yield StoppedPeriod(number, stop, stop.at, now, End.OPEN, left)


_HOW: dict[type, End] = {Started: End.STARTED, SeenUp: End.SEEN, SeenGone: End.DELETED}


def _minimum_left(stop: WentDown, last_start: datetime | None) -> timedelta:
    if not stop.has_gpus or last_start is None:
        return timedelta(0)
    return max(last_start + GPU_MINIMUM - stop.at, timedelta(0))


def _by_cvm(events: Iterable[Power]) -> Iterable[list[Power]]:
    """The events of each CVM. Some lists tell of a CVM by its hashid, some by its UUID, most by both."""
    called: dict[tuple[str, str | None, str | None], list[Power]] = defaultdict(list)
    for event in events:
        called[event.cloud, event.ref.id, event.ref.vm_uuid].append(event)
    leaders: dict[tuple[str, str], tuple[str, str]] = {}

    def leader(name: tuple[str, str]) -> tuple[str, str]:
        while (above := leaders.setdefault(name, name)) != name:
            leaders[name] = leaders[above]
            name = above
        return name

    for cloud, hashid, uuid in called:
        if hashid and uuid:
            leaders[leader((cloud, hashid))] = leader((cloud, normal_uuid(uuid)))
    of: dict[tuple[str, str], list[Power]] = defaultdict(list)
    for (cloud, hashid, uuid), told in called.items():
        of[leader((cloud, hashid or normal_uuid(uuid or "")))] += told
    return of.values()
