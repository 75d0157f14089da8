"""A second fake of metered usage, made from the API document alone: it shares nothing with the simulator.

The document leaves a good deal open; a `Style` is one way in which an API could have settled it.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any
from uuid import UUID

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Style:
    """How usage is told.

    Attributes:
        stop: the `event_type` of what a stop has charged at once.
        hourly: that of ordinary metering.
        zone: what stands behind a time.
        between: what stands between day and time.
        digits: of a second's fraction.
        dashes: whether UUIDs have dashes; without them they are in capitals.
        period: whether billing_start and billing_end are `moments`, the `hours` around them, or `days`.
        keyed: whether records have a billing_key.
        number: whether costs and minutes are JSON numbers; else strings.
        to_the_minute: whether moments are cut to the minute.
        lag: how much later than it happened a record is dated.
        newest_first: the order of the records.
        counts_all: whether `total` counts the records of all pages.
        most: how many records a page has at the most, whatever limit was asked for.
    """

    stop: str = "stop"
    hourly: str = "hourly"
    zone: str = "Z"
    between: str = "T"
    digits: int = 0
    dashes: bool = True
    period: str = "moments"
    keyed: bool = True
    number: bool = True
    to_the_minute: bool = False
    lag: timedelta = timedelta(0)
    newest_first: bool = False
    counts_all: bool = False
    most: int = 5000

    def time(self, moment: datetime) -> str:
        """A moment in words."""
        if self.to_the_minute:
            moment = moment.replace(second=0, microsecond=0)
        fraction = f".{moment:%f}"[: self.digits + 1] if self.digits else ""
        return f"{moment:%Y-%m-%d}{self.between}{moment:%H:%M:%S}{fraction}{self.zone}"

    def bounds(self, begin: datetime, end: datetime) -> tuple[str, str]:
        """A billing period in words."""
        if self.period == "days":
            return f"{begin:%Y-%m-%d}", f"{end:%Y-%m-%d}"
        if self.period == "hours":
            floor = end.replace(minute=0, second=0, microsecond=0)
            return self.time(begin.replace(minute=0, second=0, microsecond=0)), self.time(
                floor if floor == end else floor + HOUR
            )
        return self.time(begin), self.time(end)


@dataclass
class Meter:
    """Meters CVMs of one app, each record when it falls due."""

    style: Style
    records: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)

    def up(self, cvm: str, rate: Decimal, begin: datetime, end: datetime, *, stopped: bool = True) -> Decimal:
        """Meter a CVM from its start to its stop; returns what the stop had charged."""
        cut = begin
        while cut < end:
            full = cut.replace(minute=0, second=0, microsecond=0) + HOUR
            if full > end or (full == end and stopped):
                break
            self.record(cvm, self.style.hourly, "compute", rate, (cut, full))
            self.record(cvm, self.style.hourly, "storage", Decimal("0.00278"), (cut, full))
            cut = full
        return self.record(cvm, self.style.stop, "compute", rate, (cut, end)) if stopped else Decimal(0)

    def record(self, cvm: str, event: str, kind: str, rate: Decimal, period: tuple[datetime, datetime]) -> Decimal:
        """Write one record down unless it is for less than a minute; returns its cost as the JSON will have it."""
        begin, end = period
        seconds = Decimal(str((end - begin).total_seconds()))
        minutes = (seconds / 60).quantize(Decimal("0.01"), ROUND_HALF_UP)
        if minutes < 1:
            return Decimal(0)
        cost = rate * minutes / 60
        told: float | str = float(cost) if self.style.number else f"{cost:.9f}"
        first, last = self.style.bounds(begin, end)
        made = end + self.style.lag
        self.records.append(
            (
                made,
                {
                    "instance_id": cvm if self.style.dashes else UUID(cvm).hex.upper(),
                    "project_id": 4,
                    "team_id": 2,
                    "timestamp": self.style.time(made),
                    "event_type": event,
                    "cost": told,
                    "details": "{}",
                    "usage_type": kind,
                    "billing_start": first,
                    "billing_end": last,
                    "duration_minutes": float(minutes) if self.style.number else str(minutes),
                    "billing_key": f"{cvm}/{kind}/{begin.timestamp()}" if self.style.keyed else None,
                    "billing_hour": f"{begin:%Y-%m-%d %H:00:00}",
                    "billing_day": f"{begin:%Y-%m-%d}",
                },
            )
        )
        return Decimal(str(told))

    def shuffled(self, seed: int) -> None:
        """Put the records into no order at all."""
        Random(seed).shuffle(self.records)

    def page(self, since: datetime, until: datetime, limit: int, offset: int) -> dict[str, Any]:
        """What `GET /apps/{app_id}/usage` answers."""
        found = [each for made, each in self.records if since <= made <= until and made <= datetime.now(UTC)]
        if self.style.newest_first:
            found.reverse()
        page = found[offset : offset + min(limit, self.style.most)]
        return {
            "usage": page,
            "total": len(found) if self.style.counts_all else len(page),
            "total_cost": float(sum(float(each["cost"]) for each in page)),
        }
