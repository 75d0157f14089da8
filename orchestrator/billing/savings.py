"""Savings of stopped periods, remaining costs, and the charges of stops. Pure.

The money of each stopped period is rounded once, to a millionth of a dollar. All sums add these amounts, so the rows of
a table agree exactly with the total. Unknown amounts are counted, and are in no sum.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal, TypeAlias

from orchestrator.billing.reconciled import Reconciled, ReconciledTotal, add_up_charges
from orchestrator.billing.stopped_period import End, StoppedPeriod
from orchestrator.cvm import CvmRef

MICRO = Decimal("0.000001")
"""A millionth of a dollar, the unit of rounded money."""

_MICROSECOND = timedelta(microseconds=1)
_HOUR = Decimal(timedelta(hours=1) // _MICROSECOND)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)

By: TypeAlias = Literal["playbook", "app", "teepod"]
"""The grouping of stopped periods."""


@dataclass(frozen=True, slots=True)
class ChargedStop:
    """A stop or shutdown with a certain or possible effect, so that open usage was charged at once.

    Attributes:
        ref: the CVM.
        at: time of acceptance, or time of sending if the acceptance is unknown.
        run_id: the run.
        playbook: the run's playbook.
        found: the reconciled charge; None before any reconciliation.
    """

    ref: CvmRef
    at: datetime
    run_id: str
    playbook: str
    found: Reconciled | None = None


@dataclass(slots=True)
class Sum:
    """A sum with possibly unknown amounts.

    Attributes:
        usd: the sum of the known amounts.
        unknown: the number of unknown amounts.
    """

    usd: Decimal = Decimal(0)
    unknown: int = 0

    def add_amount(self, amount: Decimal | None) -> None:
        """Add an amount."""
        if amount is None:
            self.unknown += 1
        else:
            self.usd += amount

    @property
    def known_total(self) -> Decimal | None:
        """The sum; None if an amount is unknown."""
        return None if self.unknown else self.usd


@dataclass(slots=True)
class SavingsRow:
    """The sums of some stopped periods and stops.

    Attributes:
        key: the shared playbook, app id or teepod; None if the logs do not name one.
        times: the number of stopped periods.
        stood: the total duration.
        compute: the saved compute cost, at the rates at the start of each period.
        storage: the remaining storage cost.
        minimums: the unused part of the 24 hours charged up front for GPU CVMs, at the start of each period.
        open: the number of periods without an end.
        seen: the number of periods with an unknown end; the first read of the running CVM counts as the end.
        at_most: the part of `compute` from these periods: an upper limit.
        cvms: the numbers of the CVMs.
        stops: the stops in the range, each with a charge of open usage.
    """

    key: str | None
    times: int = 0
    stood: timedelta = timedelta(0)
    compute: Sum = field(default_factory=Sum)
    storage: Sum = field(default_factory=Sum)
    minimums: Sum = field(default_factory=Sum)
    open: int = 0
    seen: int = 0
    at_most: Sum = field(default_factory=Sum)
    cvms: set[int] = field(default_factory=set)
    stops: list[ChargedStop] = field(default_factory=list)

    @property
    def charges(self) -> ReconciledTotal:
        """The charges of the stops, as far as reconciled."""
        return add_up_charges(stop.found for stop in self.stops if stop.found is not None)

    @property
    def uncharged_stops(self) -> int:
        """The number of stops without a charge in the sums: not reconciled, pending or unknown."""
        return self.not_asked + self.charges.pending_stops + self.charges.unknown_stops

    @property
    def not_asked(self) -> int:
        """The number of stops without any reconciliation."""
        return sum(stop.found is None for stop in self.stops)

    def add_period(self, each: StoppedPeriod, since: datetime) -> None:
        """Add a stopped period. An up-front charge before `since` does not count."""
        length = each.end - each.begin
        self.times += 1
        self.stood += length
        compute = compute_cost(each.stop.compute, length)
        self.compute.add_amount(compute)
        self.storage.add_amount(compute_cost(each.stop.storage, length))
        if each.minimum_left and each.stop.at >= since:
            self.minimums.add_amount(compute_cost(each.stop.compute, each.minimum_left))
        self.open += each.how is End.OPEN
        if each.how is End.SEEN:
            self.seen += 1
            self.at_most.add_amount(compute)
        self.cvms.add(each.cvm)


def compute_cost(rate: Decimal | None, length: timedelta) -> Decimal | None:
    """Compute the cost of a duration at a rate in USD per hour, to a millionth of a dollar; None without a rate."""
    if rate is None:
        return None
    exact = _EXACT.divide(_EXACT.multiply(rate, Decimal(length // _MICROSECOND)), _HOUR)
    return exact.quantize(MICRO, context=_EXACT)


def to_hours(length: timedelta) -> Decimal:
    """Convert a duration to hours, to a millionth of an hour."""
    return _EXACT.divide(Decimal(length // _MICROSECOND), _HOUR).quantize(MICRO, context=_EXACT)


def clip_periods(found: Iterable[StoppedPeriod], since: datetime, until: datetime) -> Iterator[StoppedPeriod]:
    """Yield the parts of stopped periods between two moments; a period that continues afterwards is open."""
    for each in found:
        begin, end = max(each.begin, since), min(each.end, until)
        if begin < end:
            how = each.how if each.end < until else End.OPEN
            yield StoppedPeriod(each.cvm, each.stop, begin, end, how, each.minimum_left)


def add_up(
    found: Iterable[StoppedPeriod], stops: Iterable[ChargedStop], by: By, since: datetime
) -> tuple[list[SavingsRow], SavingsRow]:
    """Return the rows, the largest saving first, and the sum of all rows.

    Args:
        found: the stopped periods, clipped to the range.
        stops: the stops in the range.
        by: the grouping of the rows.
        since: start of the range.
    """
    rows: dict[str | None, SavingsRow] = {}
    together, key_of = SavingsRow(None), _KEYS[by]
    for each in found:
        key = key_of(each.stop.playbook, each.stop.ref)
        rows.setdefault(key, SavingsRow(key)).add_period(each, since)
        together.add_period(each, since)
    for stop in stops:
        key = key_of(stop.playbook, stop.ref)
        rows.setdefault(key, SavingsRow(key)).stops.append(stop)
        together.stops.append(stop)
    return sorted(rows.values(), key=lambda row: (-row.compute.usd, -row.stood, row.key or "")), together


_KEYS: dict[By, Callable[[str, CvmRef], str | None]] = {
    "playbook": lambda playbook, _: playbook or None,
    "app": lambda _, ref: ref.app_id,
    "teepod": lambda _, ref: ref.teepod or ref.teepod_key or None,
}
"""The grouping key of stopped periods and stops."""


def split_into_days(since: datetime, until: datetime, most: int = 60) -> list[datetime]:
    """Return the edges of the UTC days in a range, or of longer periods for at most `most` pieces."""
    length = timedelta(days=max(1, -(-(until - since) // timedelta(days=most))))
    edges = [since]
    edge = since.replace(hour=0, minute=0, second=0, microsecond=0) + length
    while edge < until:
        edges.append(edge)
        edge += length
    return [*edges, until]


def spread_over_time(found: Iterable[StoppedPeriod], edges: list[datetime]) -> list[Decimal]:
    """Compute the saved compute cost between each two edges, in USD, as far as rates are known."""
    saved = [Decimal(0)] * (len(edges) - 1)
    for each in found:
        index = max(bisect_right(edges, each.begin) - 1, 0)
        while index < len(saved) and edges[index] < each.end:
            inside = min(each.end, edges[index + 1]) - max(each.begin, edges[index])
            saved[index] += compute_cost(each.stop.compute, inside) or Decimal(0)
            index += 1
    return saved
