"""The savings of runs, from the entries of their logs."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any, TypeAlias

from orchestrator.audit.store import StoredRun
from orchestrator.billing.reconciled import Basis, ChargeState, Figure, Reconciled
from orchestrator.billing.savings import (
    By,
    ChargedStop,
    SavingsRow,
    add_up,
    clip_periods,
    split_into_days,
    spread_over_time,
)
from orchestrator.billing.stopped_period import Power, SeenGone, SeenUp, Started, WentDown, find_stopped_periods
from orchestrator.cvm import CvmRef
from orchestrator.history.entry import Entry, read_lists

_FINISHED = frozenset({"whole", "unfinished", "torn"})


@dataclass(frozen=True, slots=True)
class SavingsReport:
    """The savings of runs in a time range.

    Attributes:
        since: start of the range.
        until: end of the range.
        by: the grouping of the rows.
        rows: the sums, the largest saving first.
        together: the sum of all rows.
        edges: the days of the range, or periods of several days.
        savings: saved compute in USD per day or period.
        ask: runs and fleet runs with stops whose charges are unknown so far, oldest first.
        runs: the number of included logs.
        left_out: the number of excluded logs by reason: `altered`, `unreadable`, `simulated`.
        live: whether the present statuses of the CVMs were read.
        fleet: the only counted fleet run; None for all runs.
    """

    since: datetime
    until: datetime
    by: By
    rows: list[SavingsRow]
    together: SavingsRow
    edges: list[datetime]
    savings: list[Decimal]
    ask: list[str] = field(default_factory=list)
    runs: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    live: bool = False
    fleet: str | None = None


def add_up_savings(
    entries: Iterable[tuple[StoredRun, Entry]],
    by: By,
    since: datetime,
    until: datetime,
    *,
    simulated: bool = False,
    running: Iterable[SeenUp] | None = None,
    fleet: str | None = None,
) -> SavingsReport:
    """Add up the savings of runs.

    Args:
        entries: the entries of all logs of any time: a CVM stopped long ago may still be down.
        by: the grouping of the rows.
        since: start of the range.
        until: end of the range; not after now.
        simulated: whether to count only runs against simulated clouds.
        running: the CVMs running now, by a new list; None without a list.
        fleet: the only fleet run to count; the starts of all other runs still end its stopped periods.
    """
    power_events, left_out = _PowerEvents(since, until), Counter[str]()
    counted: dict[str, str] = {}
    for run, entry in entries:
        row = entry.row
        is_counted = fleet is None or row.get("fleet") == fleet
        if row["verdict"] not in _FINISHED:
            left_out[row["verdict"]] += is_counted
        elif row["simulated"] != simulated:
            left_out["simulated" if row["simulated"] else "real"] += is_counted
        else:
            power_events.take(run.run_id, entry)
            if is_counted:
                counted[run.run_id] = row.get("fleet") or run.run_id
    periods = find_stopped_periods(chain(power_events.events(), running or ()), until)
    found = list(clip_periods((each for each in periods if each.stop.run_id in counted), since, until))
    stops = [stop for stop in power_events.stops() if stop.run_id in counted]
    rows, together = add_up(found, stops, by, since)
    edges = split_into_days(since, until)
    pending = [stop for stop in stops if stop.found is None or stop.found.standing is ChargeState.PENDING]
    return SavingsReport(
        since,
        until,
        by,
        rows,
        together,
        edges,
        spread_over_time(found, edges),
        ask=sorted({counted[stop.run_id] for stop in pending}),
        runs=len(counted),
        left_out=+left_out,
        live=running is not None,
        fleet=fleet,
    )


_Charge: TypeAlias = tuple[str, str | None, str]
"""A usage record: the cloud, the CVM, and the record's key in the API."""


class _PowerEvents:
    """The events of CVMs in many logs."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._since, self._until = since, until
        self._stops: list[tuple[ChargedStop, list[_Charge]]] = []
        self._first: dict[_Charge, tuple[datetime, str]] = {}
        self._events: list[Power] = []
        self._lists: list[tuple[str, Entry]] = []

    def take(self, run_id: str, entry: Entry) -> None:
        """Include a further log."""
        cloud, playbook, power = entry.row["cloud_url"] or "", entry.row["playbook"] or "", entry.power
        if entry.lists:
            self._lists.append((cloud, entry))
        refs = [CvmRef(*names) for names in power.get("cvms", ())]
        for cvm, at, seen, compute, storage, has_gpus in power.get("down", ()):
            moments, rates = (_parse_moment(at), _parse_moment(seen)), (_parse_money(compute), _parse_money(storage))
            self._events.append(WentDown(cloud, refs[cvm], *moments, run_id, playbook, *rates, has_gpus))
        self._events += [Started(cloud, refs[cvm], _parse_moment(at)) for cvm, at in power.get("started", ())]
        self._events += [SeenGone(cloud, refs[cvm], _parse_moment(at)) for cvm, at in power.get("gone", ())]
        self._events += [
            SeenUp(cloud, refs[cvm], _parse_moment(at), _parse_moment(at)) for cvm, at in power.get("up", ())
        ]
        for cvm, at, charge in power.get("stops", ()):
            when, ref = _parse_moment(at), refs[cvm]
            charges = [(cloud, ref.uuid_key, key) for key in (charge or {}).get("billing_keys", ())]
            for each in charges:
                self._first[each] = min(self._first.get(each, (when, run_id)), (when, run_id))
            if self._since <= when < self._until:
                found = None if charge is None else Reconciled.from_document(charge)
                self._stops.append((ChargedStop(ref, when, run_id, playbook, found), charges))

    def stops(self) -> list[ChargedStop]:
        """Return all stops in the range. A charge found by two runs belongs to the first run."""
        return [
            replace(stop, found=_without_a_charge(stop.found))
            if stop.found and charges and all(self._first[each] != (stop.at, stop.run_id) for each in charges)
            else stop
            for stop, charges in self._stops
        ]

    def events(self) -> Iterable[Power]:
        """Return all events of the logs; CVMs in lists count only if a run took the CVM down."""
        known = {
            (event.cloud, name)
            for event in self._events
            if isinstance(event, WentDown)
            for name in (event.ref.id, event.ref.uuid_key)
            if name
        }
        return chain(self._events, *(_list_running(cloud, read_lists(entry), known) for cloud, entry in self._lists))


def _without_a_charge(found: Reconciled) -> Reconciled:
    nothing, not_known = Figure(Decimal(0), Decimal(0), Basis.OBSERVED), Figure(None, None, Basis.ESTIMATED)
    return replace(found, standing=ChargeState.NONE, expected=not_known, charged=nothing, billing_keys=())


def _list_running(cloud: str, lists: list[Any], known: set[tuple[str, str]]) -> Iterable[Power]:
    for at, read_after, names in lists:
        up = [(name, uuid) for name, uuid in names if (cloud, name) in known or (cloud, uuid) in known]
        if up:
            moments = _parse_moment(at), _parse_moment(read_after)
            for name, uuid in up:
                yield SeenUp(cloud, CvmRef(name, uuid, ""), *moments)


def _parse_moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parse_money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
