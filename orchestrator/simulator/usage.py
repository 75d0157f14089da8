"""Metered usage: the cost of one CVM, computed from its timeline.

Compute is metered while the CVM is up. A record ends on the full hour or at the stop, whichever comes first. Minutes
are rounded to two decimals; less than one minute is not charged. Storage is metered up or down. An on-demand GPU CVM
is charged 24 hours up front at each start, and by the hour after these 24 hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from math import floor

from orchestrator.simulator.machine import SimulatedCvm
from orchestrator.simulator.timeline import GONE
from orchestrator.simulator.world import World

HOUR = 3600.0
GPU_MINIMUM = 24 * HOUR

_MINUTE = Decimal(60)
_CENT_OF_MINUTE = Decimal("0.01")
_MICRO_USD = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class MeteredUsage:
    """A usage record: time of the record, kinds, begin and end in seconds, minutes and US dollars."""

    cvm: SimulatedCvm
    at: float
    event_type: str
    usage_type: str
    begin: float
    end: float
    minutes: Decimal
    cost: Decimal


def meter_usage(world: World, cvm: SimulatedCvm, *, until: float) -> Iterator[MeteredUsage]:
    """Compute the usage records of a CVM up to `until`, compute first."""
    oldest = -world.settings.usage.history_hours * HOUR
    epoch = world.epoch
    offset = epoch.minute * 60 + epoch.second + epoch.microsecond / 1_000_000
    for begin, end, stopped in _metered_periods(cvm, until):
        start = max(begin, oldest)
        if cvm.instance_type.gpus:
            if begin >= oldest:
                yield _make_record(cvm, begin, "gpu_minimum", "compute", (begin, begin + GPU_MINIMUM))
            start = max(start, begin + GPU_MINIMUM)
        for piece, full in _split_at_hours(start, end, offset):
            if full:
                yield from _if_charged(_make_record(cvm, piece[1], "hourly", "compute", piece))
            elif stopped and not world.settings.workspace.suspended:
                yield from _if_charged(_make_record(cvm, end, "stop", "compute", piece))
    deleted = next((phase.at for phase in cvm.timeline if phase.status == GONE), until)
    end = min(until, deleted)
    for piece, full in _split_at_hours(max(cvm.created, oldest), end, offset):
        if full or deleted < until:
            yield from _if_charged(_make_record(cvm, piece[1], "hourly", "storage", piece))


def _metered_periods(cvm: SimulatedCvm, until: float) -> Iterator[tuple[float, float, bool]]:
    """Periods of metered compute: begin, end, and True if a stop ended the period."""
    begin: float | None = None
    for phase in cvm.timeline:
        if phase.at > until:
            break
        if phase.metered and begin is None:
            begin = phase.at
        elif not phase.metered and begin is not None:
            yield begin, phase.at, True
            begin = None
    if begin is not None and begin < until:
        yield begin, until, False


def _split_at_hours(begin: float, end: float, offset: float) -> Iterator[tuple[tuple[float, float], bool]]:
    """Cut a period at the full hours of the calendar: the pieces, with True for a piece up to a full hour."""
    index = floor((begin + offset) / HOUR)
    while begin < end:
        index += 1
        hour = index * HOUR - offset
        if hour > begin:
            yield (begin, min(end, hour)), hour <= end
            begin = hour


def _make_record(
    cvm: SimulatedCvm, at: float, event_type: str, usage_type: str, span: tuple[float, float]
) -> MeteredUsage:
    begin, end = span
    minutes = (Decimal(str(end - begin)) / _MINUTE).quantize(_CENT_OF_MINUTE, ROUND_HALF_UP)
    rate = cvm.compute_rate if usage_type == "compute" else cvm.disk_rate
    cost = (rate * minutes / _MINUTE).quantize(_MICRO_USD, ROUND_HALF_UP)
    return MeteredUsage(cvm, at, event_type, usage_type, begin, end, minutes, cost)


def _if_charged(usage: MeteredUsage) -> Iterator[MeteredUsage]:
    if usage.minutes >= 1:
        yield usage
