"""What the API is asked about the stops of a run, and what its answers say about them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.billing.reconcile import LOOK_AHEAD, LOOK_BACK, reconcile, untold, why_untold
from orchestrator.billing.reconciled import ChargeState, Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.engine.read.usage import AppQuestion, AppUsage
from orchestrator.moment import parse_timestamp

Key = tuple[str, str]
"""A step and what tells a CVM from others: a target of a run."""

Stops = Mapping[str, Sequence[Stop]]
"""The stops of each CVM, in the order of their sending."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What is known about the stops of a run after asking, or without asking where all was known.

    Attributes:
        found: what is known of each stop.
        news: those of `found` that the log does not have yet.
        problems: why there was no answer about some of them.
        asked: how many apps were asked about.
    """

    found: Mapping[Key, Reconciled]
    news: tuple[Reconciled, ...] = ()
    problems: Mapping[Key, str] = field(default_factory=dict)
    asked: int = 0

    @property
    def open(self) -> bool:
        """Whether asking again may tell more."""
        return bool(self.problems) or not all(each.standing.final for each in self.found.values())


def open_stops(stops: Stops, known: Mapping[Key, Reconciled], pending_for: float) -> dict[str, Sequence[Stop]]:
    """The stops of the CVMs about which there is something left to ask.

    Args:
        stops: of the run.
        known: what its log has on them.
        pending_for: seconds after a stop from which on no charge is to be expected any more.
    """
    return {
        cvm: each
        for cvm, each in stops.items()
        if not all(_is_closed(known.get((stop.step, cvm)), stop, pending_for) for stop in each)
    }


def questions(stops: Stops) -> list[AppQuestion]:
    """What to ask: one question an app, about all its CVMs and the whole of their windows."""
    by_app: dict[str, list[Stop]] = {}
    for stop in (stop for each in stops.values() for stop in each):
        if stop.ref.app_id is not None and why_untold(stop.ref) is None:
            by_app.setdefault(stop.ref.app_id, []).append(stop)
    return [
        AppQuestion(
            app_id,
            min(stop.window[0] for stop in each) - LOOK_BACK,
            max(stop.window[1] for stop in each) + LOOK_AHEAD,
            frozenset(stop.ref.uuid_key or "" for stop in each),
        )
        for app_id, each in by_app.items()
    ]


def answered(
    stops: Stops,
    usage: Mapping[str, AppUsage],
    known: Mapping[Key, Reconciled],
    *,
    now: datetime,
    pending_for: float,
) -> Reconciliation:
    """What the answers say.

    Args:
        stops: those that were asked about.
        usage: the answers, by app.
        known: what the log had on all stops of the run.
        now: when they were given.
        pending_for: seconds after a stop from which on no charge is to be expected any more.
    """
    found, news, problems = dict(known), [], {}
    for cvm, each in stops.items():
        app = usage.get(each[0].ref.app_id or "")
        if app is not None and app.problem is not None:
            for stop in each:
                if not _is_closed(known.get((stop.step, cvm)), stop, pending_for):
                    problems[stop.step, cvm] = app.problem
                    found.setdefault((stop.step, cvm), untold(stop, app.problem, now, ChargeState.PENDING))
            continue
        for stop, said in zip(each, _say(each, app, now=now, pending_for=pending_for), strict=True):
            before = known.get((stop.step, cvm))
            if before is None or not (_is_closed(before, stop, pending_for) or said.says_the_same_as(before)):
                found[stop.step, cvm] = said
                news.append(said)
    return Reconciliation(found, tuple(news), problems, len(usage))


def _say(stops: Sequence[Stop], app: AppUsage | None, *, now: datetime, pending_for: float) -> list[Reconciled]:
    """What the answer about its app says of the stops of one CVM."""
    ref = stops[0].ref
    reason = why_untold(ref)
    if app is None or reason is not None:
        return [untold(stop, reason or "its app was not asked about", now) for stop in stops]
    records = app.by_cvm.get(ref.uuid_key or "", ())
    ahead = timedelta(seconds=app.ahead)
    return reconcile(stops, records, gone=app.gone, ahead=ahead, now=now, pending_for=pending_for)


def _is_closed(found: Reconciled | None, stop: Stop, pending_for: float) -> bool:
    """Whether a stop need not be asked about; one that was not charged is asked about again if that came too soon."""
    if found is None or found.standing is not ChargeState.NONE:
        return found is not None and found.standing.final
    waited = parse_timestamp(found.asked_at) - (stop.down or stop.ended)
    return waited.total_seconds() >= pending_for
