"""Stopped periods of CVMs: from the end of compute to the next recorded start. Pure.

Compute ends when a forced stop is accepted, or when a CVM is seen down after a shutdown; `reconcile` uses the same
rule.

The logs are the only source. Between two runs any person may start a CVM. The period then ends at the first read of the
running CVM, later than the actual start. Such an end is *seen*, not *started*.
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
"""The largest lag of a list behind a single status read."""

GPU_MINIMUM = timedelta(hours=24)
"""The up-front charge of every start of a CVM with GPUs."""


@dataclass(frozen=True, slots=True)
class WentDown:
    """A run took a CVM down, and saw the CVM down.

    Attributes:
        cloud: the URL of the API; CVM ids are only unique within a cloud.
        ref: the CVM.
        at: end of the CVM's compute.
        seen: time of the read that showed the CVM down.
        run_id: the run.
        playbook: the run's playbook.
        compute: compute cost, in USD per hour; None if unknown.
        storage: storage cost, in USD per hour; None if unknown.
        has_gpus: whether each start is charged a 24-hour minimum.
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
        at: time of acceptance.
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
        at: time of the record.
        read_after: the earliest possible start of the read.
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
        at: time of the record.
    """

    cloud: str
    ref: CvmRef
    at: datetime


Power: TypeAlias = WentDown | Started | SeenUp | SeenGone
"""A fact of a log about a CVM's power state."""


class End(StrEnum):
    """Ends of a stopped period."""

    STARTED = "started"
    """A start or restart of a run was accepted."""
    SEEN = "seen"
    """The CVM was started outside of runs: the end is the first read of the running CVM, later than the start."""
    DELETED = "deleted"
    """The CVM was found deleted."""
    OPEN = "open"
    """No end is on record: the period lasts until now."""


@dataclass(frozen=True, slots=True)
class StoppedPeriod:
    """A stopped period of a CVM.

    Attributes:
        cvm: a unique number of the CVM.
        stop: the event at the start.
        begin: start of the period.
        end: end of the period.
        how: the kind of end.
        minimum_left: the unused part of the 24 hours charged up front at the last recorded start.
    """

    cvm: int
    stop: WentDown
    begin: datetime
    end: datetime
    how: End
    minimum_left: timedelta = timedelta(0)


def find_stopped_periods(story: Iterable[Power], now: datetime) -> list[StoppedPeriod]:
    """Find all stopped periods in these events, in order of their start.

    A second stop without a start in between begins no new period. Events after `now` are ignored.
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
    """Group the events by CVM. Some lists identify a CVM by hashid, some by UUID, most by both."""
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
