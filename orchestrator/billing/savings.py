"""What standstills spared, what they did not, and what the stops were charged. Pure.

Every standstill's money is rounded to a millionth of a dollar, once; all sums are sums of these, so that the rows of a
table and its total agree exactly. What is unknown is in no sum, and counted.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal, TypeAlias

from orchestrator.billing.reconciled import Reconciled, ReconciledTotal, total
from orchestrator.billing.stopped_period import End, StoppedPeriod
from orchestrator.cvm import CvmRef

MICRO = Decimal("0.000001")
"""A millionth of a dollar, to which money is rounded."""

_MICROSECOND = timedelta(microseconds=1)
_HOUR = Decimal(timedelta(hours=1) // _MICROSECOND)
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)

By: TypeAlias = Literal["playbook", "app", "teepod"]
"""By what standstills are put together."""


@dataclass(frozen=True, slots=True)
class ChargedStop:
    """A stop or shutdown that took effect, or may have, and so had open usage charged at once.

    Attributes:
        ref: the CVM.
        at: when it was accepted; where that is not known, when it was sent.
        run_id: the run.
        playbook: the run's playbook.
        found: what reconciling found out about it; None where nobody asked.
    """

    ref: CvmRef
    at: datetime
    run_id: str
    playbook: str
    found: Reconciled | None = None


@dataclass(slots=True)
class Sum:
    """Amounts of which some may be unknown.

    Attributes:
        usd: the sum of those that are known.
        unknown: how many are not.
    """

    usd: Decimal = Decimal(0)
    unknown: int = 0

    def add(self, amount: Decimal | None) -> None:
        """Take one more into account."""
        if amount is None:
            self.unknown += 1
        else:
            self.usd += amount

    @property
    def whole(self) -> Decimal | None:
        """The sum; None where a part of it is unknown."""
        return None if self.unknown else self.usd


@dataclass(slots=True)
class Row:
    """What some standstills and stops come to.

    Attributes:
        key: the playbook, the app's id or the teepod they have in common; None where their logs do not say.
        times: how many standstills there are.
        stood: how long they lasted together.
        compute: what their compute would have cost, at the rates of when they began.
        storage: what their storage went on costing.
        minimums: what was left, at their beginnings, of the 24 hours that GPU CVMs are charged for up front.
        open: how many have not ended.
        seen: how many ended at a moment that is not known, and was taken for the first at which the CVM ran again.
        at_most: what of `compute` is for these: it may be as little as nothing.
        cvms: the numbers of the CVMs.
        stops: those of this time, each charged what was open.
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
        """What the stops were charged, as far as anybody asked."""
        return total(stop.found for stop in self.stops if stop.found is not None)

    @property
    def uncharged(self) -> int:
        """Of how many stops the charge is in no sum: nobody asked, it is pending, or it can't be found out."""
        return self.not_asked + self.charges.pending + self.charges.unknown

    @property
    def not_asked(self) -> int:
        """For how many stops nobody asked what they were charged."""
        return sum(stop.found is None for stop in self.stops)

    def add(self, each: StoppedPeriod, since: datetime) -> None:
        """Take one more standstill into account; what was charged up front for one that began before `since` is not."""
        length = each.end - each.begin
        self.times += 1
        self.stood += length
        compute = cost(each.stop.compute, length)
        self.compute.add(compute)
        self.storage.add(cost(each.stop.storage, length))
        if each.minimum_left and each.stop.at >= since:
            self.minimums.add(cost(each.stop.compute, each.minimum_left))
        self.open += each.how is End.OPEN
        if each.how is End.SEEN:
            self.seen += 1
            self.at_most.add(compute)
        self.cvms.add(each.cvm)


def cost(rate: Decimal | None, length: timedelta) -> Decimal | None:
    """What this long costs at this rate in USD per hour, to a millionth of a dollar; None where the rate is unknown."""
    if rate is None:
        return None
    exact = _EXACT.divide(_EXACT.multiply(rate, Decimal(length // _MICROSECOND)), _HOUR)
    return exact.quantize(MICRO, context=_EXACT)


def hours(length: timedelta) -> Decimal:
    """A length in hours, to a millionth of one."""
    return _EXACT.divide(Decimal(length // _MICROSECOND), _HOUR).quantize(MICRO, context=_EXACT)


def clipped(found: Iterable[StoppedPeriod], since: datetime, until: datetime) -> Iterator[StoppedPeriod]:
    """The parts of standstills that lie between two moments; one that goes on after the second one is open."""
    for each in found:
        begin, end = max(each.begin, since), min(each.end, until)
        if begin < end:
            how = each.how if each.end < until else End.OPEN
            yield StoppedPeriod(each.cvm, each.stop, begin, end, how, each.minimum_left)


def add_up(
    found: Iterable[StoppedPeriod], stops: Iterable[ChargedStop], by: By, since: datetime
) -> tuple[list[Row], Row]:
    """The rows, the largest saving first, and all of them together.

    Args:
        found: the standstills, clipped to the time that is asked for.
        stops: those of that time.
        by: what a row is of.
        since: when that time begins.
    """
    rows: dict[str | None, Row] = {}
    together, key_of = Row(None), _KEYS[by]
    for each in found:
        key = key_of(each.stop.playbook, each.stop.ref)
        rows.setdefault(key, Row(key)).add(each, since)
        together.add(each, since)
    for stop in stops:
        key = key_of(stop.playbook, stop.ref)
        rows.setdefault(key, Row(key)).stops.append(stop)
        together.stops.append(stop)
    return sorted(rows.values(), key=lambda row: (-row.compute.usd, -row.stood, row.key or "")), together


_KEYS: dict[By, Callable[[str, CvmRef], str | None]] = {
    "playbook": lambda playbook, _: playbook or None,
    "app": lambda _, ref: ref.app_id,
    "teepod": lambda _, ref: ref.teepod or ref.teepod_key or None,
}
"""What standstills and stops of one row have in common."""


def days(since: datetime, until: datetime, most: int = 60) -> list[datetime]:
    """The edges of the days of UTC in this time, or of so many days each that they are no more than `most` pieces."""
    length = timedelta(days=max(1, -(-(until - since) // timedelta(days=most))))
    edges = [since]
    edge = since.replace(hour=0, minute=0, second=0, microsecond=0) + length
    while edge < until:
        edges.append(edge)
        edge += length
    return [*edges, until]


def over_time(found: Iterable[StoppedPeriod], edges: list[datetime]) -> list[Decimal]:
    """What the compute between each two edges would have cost, in USD, as far as rates are known."""
    spared = [Decimal(0)] * (len(edges) - 1)
    for each in found:
        index = max(bisect_right(edges, each.begin) - 1, 0)
        while index < len(spared) and edges[index] < each.end:
            inside = min(each.end, edges[index + 1]) - max(each.begin, edges[index])
            spared[index] += cost(each.stop.compute, inside) or Decimal(0)
            index += 1
    return spared
