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

_Name: TypeAlias = tuple[str, str]
"""The URL of the API, and a hashid or UUID of a CVM."""


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


def find_stopped_periods(events: Iterable[Power], now: datetime) -> list[StoppedPeriod]:
    """Find all stopped periods in these events, in order of their start.

    A second stop without a start in between begins no new period. Events after `now` are ignored.
    """
    known = [event for event in events if event.at <= now]
    found: list[StoppedPeriod] = []
    for number, of_cvm in enumerate(_group_by_cvm(known)):
        # At the same time the end of a period comes before the next stop.
        of_cvm.sort(key=lambda event: (event.at, isinstance(event, WentDown)))
        found += _find_cvm_periods(number, of_cvm, now)
    return sorted(found, key=lambda period: (period.begin, period.cvm))


_END_BY_EVENT: dict[type, End] = {Started: End.STARTED, SeenUp: End.SEEN, SeenGone: End.DELETED}


def _find_cvm_periods(number: int, events: Iterable[Power], now: datetime) -> Iterable[StoppedPeriod]:
    """Yield the stopped periods of a CVM, from its events in order of time."""
    stop: WentDown | None = None  # the stop of the open period; None while the CVM runs
    minimum_left = timedelta(0)  # of the open period
    last_start: datetime | None = None  # the last recorded start since the last stop
    for event in events:
        if isinstance(event, WentDown):
            if stop is None:
                stop, minimum_left = event, _find_minimum_left(event, last_start)
            last_start = None
            continue
        if isinstance(event, Started):
            last_start = event.at
        if stop is not None and not _may_be_older(event, stop):
            yield StoppedPeriod(number, stop, stop.at, event.at, _END_BY_EVENT[type(event)], minimum_left)
            stop = None
    if stop is not None:
        yield StoppedPeriod(number, stop, stop.at, now, End.OPEN, minimum_left)


def _may_be_older(event: Power, stop: WentDown) -> bool:
    """Check for a read that may show the status before the stop, because the API's reads lag."""
    return isinstance(event, SeenUp) and event.read_after < stop.seen + LAG


def _find_minimum_left(stop: WentDown, last_start: datetime | None) -> timedelta:
    if not stop.has_gpus or last_start is None:
        return timedelta(0)
    return max(last_start + GPU_MINIMUM - stop.at, timedelta(0))


def _group_by_cvm(events: Iterable[Power]) -> Iterable[list[Power]]:
    """Group the events by CVM. Some lists identify a CVM by hashid, some by UUID, most by both."""
    by_ids: dict[tuple[str, str | None, str | None], list[Power]] = defaultdict(list)
    for event in events:
        by_ids[event.cloud, event.ref.id, event.ref.vm_uuid].append(event)
    # Disjoint sets: a name with its cloud -> another name of the same CVM; the last name of a chain leads to itself.
    next_names: dict[_Name, _Name] = {}

    def find_last_name(name: _Name) -> _Name:
        while (following := next_names.setdefault(name, name)) != name:
            next_names[name] = next_names[following]  # shortens the chain for later searches
            name = following
        return name

    for cloud, hashid, uuid in by_ids:
        if hashid and uuid:
            next_names[find_last_name((cloud, hashid))] = find_last_name((cloud, normal_uuid(uuid)))
    by_cvm: dict[_Name, list[Power]] = defaultdict(list)
    for (cloud, hashid, uuid), found in by_ids.items():
        by_cvm[find_last_name((cloud, hashid or normal_uuid(uuid or "")))] += found
    return by_cvm.values()
