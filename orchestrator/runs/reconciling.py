"""The usage questions to the API about the stops of a run, and the evaluation of the answers. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orchestrator.billing.reconcile import LOOK_AHEAD, LOOK_BACK, reconcile_stops, why_without_usage, without_usage
from orchestrator.billing.reconciled import ChargeState, Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.engine.read.usage import AppUsage, AppUsageQuery
from orchestrator.times import parse_timestamp

Key = tuple[str, str]
"""A target of a run: its step, and the CVM's key."""

Stops = Mapping[str, Sequence[Stop]]
"""The stops of each CVM, in the order of their sending."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The known charges for the stops of a run, with or without new answers.

    Attributes:
        found: the known charge of every stop.
        news: the part of `found` missing in the log.
        problems: the reasons for missing answers.
        asked: the number of apps in the questions.
    """

    found: Mapping[Key, Reconciled]
    news: tuple[Reconciled, ...] = ()
    problems: Mapping[Key, str] = field(default_factory=dict)
    asked: int = 0

    @property
    def open(self) -> bool:
        """True if a later reconciliation may find more."""
        return bool(self.problems) or not all(each.standing.is_final for each in self.found.values())


def open_stops(stops: Stops, known: Mapping[Key, Reconciled], pending_for: float) -> dict[str, Sequence[Stop]]:
    """Select the stops of CVMs with open charges.

    Args:
        stops: the stops of the run.
        known: the charges recorded in the log.
        pending_for: seconds after a stop; later charges are not expected.
    """
    return {
        cvm: each
        for cvm, each in stops.items()
        if not all(_is_closed(known.get((stop.step, cvm)), stop, pending_for) for stop in each)
    }


def make_questions(stops: Stops) -> list[AppUsageQuery]:
    """Make the usage questions: a question for every app, about all its CVMs and their whole windows."""
    by_app: dict[str, list[Stop]] = {}
    for stop in (stop for each in stops.values() for stop in each):
        if stop.ref.app_id is not None and why_without_usage(stop.ref) is None:
            by_app.setdefault(stop.ref.app_id, []).append(stop)
    return [
        AppUsageQuery(
            app_id,
            min(stop.search_window[0] for stop in each) - LOOK_BACK,
            max(stop.search_window[1] for stop in each) + LOOK_AHEAD,
            frozenset(stop.ref.uuid_key or "" for stop in each),
        )
        for app_id, each in by_app.items()
    ]


def evaluate_answers(
    stops: Stops,
    usage: Mapping[str, AppUsage],
    known: Mapping[Key, Reconciled],
    *,
    now: datetime,
    pending_for: float,
) -> Reconciliation:
    """Evaluate the answers.

    Args:
        stops: the stops in the questions.
        usage: the answers, by app.
        known: the charges recorded in the log, for all stops of the run.
        now: the time of the answers.
        pending_for: seconds after a stop; later charges are not expected.
    """
    found, news, problems = dict(known), [], {}
    for cvm, each in stops.items():
        app = usage.get(each[0].ref.app_id or "")
        if app is not None and app.problem is not None:
            for stop in each:
                if not _is_closed(known.get((stop.step, cvm)), stop, pending_for):
                    problems[stop.step, cvm] = app.problem
                    found.setdefault((stop.step, cvm), without_usage(stop, app.problem, now, ChargeState.PENDING))
            continue
        for stop, said in zip(each, _evaluate_app(each, app, now=now, pending_for=pending_for), strict=True):
            before = known.get((stop.step, cvm))
            if before is None or not (_is_closed(before, stop, pending_for) or said.says_the_same_as(before)):
                found[stop.step, cvm] = said
                news.append(said)
    return Reconciliation(found, tuple(news), problems, len(usage))


def _evaluate_app(
    stops: Sequence[Stop], app: AppUsage | None, *, now: datetime, pending_for: float
) -> list[Reconciled]:
    """Evaluate the answer about an app for the stops of a CVM."""
    ref = stops[0].ref
    reason = why_without_usage(ref)
    if app is None or reason is not None:
        return [without_usage(stop, reason or "its app was not asked about", now) for stop in stops]
    records = app.by_cvm.get(ref.uuid_key or "", ())
    ahead = timedelta(seconds=app.ahead)
    return reconcile_stops(stops, records, gone=app.gone, ahead=ahead, now=now, pending_for=pending_for)


def _is_closed(found: Reconciled | None, stop: Stop, pending_for: float) -> bool:
    """Check a stop for a final charge. A stop without a charge stays open until `pending_for` has passed."""
    if found is None or found.standing is not ChargeState.NONE:
        return found is not None and found.standing.is_final
    waited = parse_timestamp(found.asked_at) - (stop.down or stop.ended)
    return waited.total_seconds() >= pending_for
