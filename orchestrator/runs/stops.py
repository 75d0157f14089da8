"""The stops and shutdowns of a run with a possible charge, from its log."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import Phase, TargetState
from orchestrator.billing.reconciled import Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.run_bill import charges_nothing
from orchestrator.times import parse_timestamp

_IN_DOUBT = frozenset({Phase.SENDING, Phase.UNKNOWN})
_Key = tuple[str, str]


def list_chargeable_targets(state: RunState) -> list[TargetState]:
    """List the targets for `reconcile`: stops and shutdowns with a certain or possible effect.

    Refused, unsent and too late requests are left out, and so are starts, restarts, and stops of CVMs already on their
    way down.
    """
    return [
        target
        for target in state.targets.values()
        if not Action(target.action).leaves_running
        and (target.billing is not None or target.phase in _IN_DOUBT)
        and not charges_nothing((target.billing or target.bill).get("notes"))
    ]


def reconciled_in(state: RunState) -> dict[_Key, Reconciled]:
    """Return the recorded charges by step and CVM; targets without a reconciliation are left out."""
    return {
        (target.step, target.ref.key): Reconciled.from_document(target.reconciled.record)
        for target in list_chargeable_targets(state)
        if target.reconciled is not None
    }


def stops_of(state: RunState) -> dict[str, list[Stop]]:
    """Return the stops of every CVM in the order of sending, by the CVM's key."""
    last = state.last_ts if state.finished is None else state.finished.ts
    sent: dict[str, list[datetime]] = {}
    for target in state.targets.values():
        if target.effective_sent_at is not None:
            sent.setdefault(target.ref.key, []).append(parse_timestamp(target.effective_sent_at))
    found: dict[str, list[Stop]] = {}
    for target in list_chargeable_targets(state):
        stop = _stop_of(target, last)
        # Later charges belong to the next action, whether a stop or not.
        later = min((at for at in sent.get(target.ref.key, ()) if at > stop.sent), default=None)
        found.setdefault(target.ref.key, []).append(replace(stop, later=later))
    return {cvm: sorted(stops, key=lambda stop: stop.sent) for cvm, stops in found.items()}


def _stop_of(target: TargetState, last: str) -> Stop:
    return Stop(
        step=target.step,
        action=Action(target.accepted_action or target.action),
        ref=target.ref,
        sent=parse_timestamp(target.effective_sent_at or last),
        accepted=_time_or_none(target.accepted_at),
        ended=parse_timestamp(target.ended_at or last),
        down=_time_or_none(target.settled_at),
        rate=_rate_of(target.billing or target.bill),
    )


def _time_or_none(timestamp: str | None) -> datetime | None:
    return None if timestamp is None else parse_timestamp(timestamp)


def _rate_of(billing: Mapping[str, object]) -> Decimal | None:
    rate = billing.get("compute_usd_per_hour")
    return None if rate is None else Decimal(str(rate))
