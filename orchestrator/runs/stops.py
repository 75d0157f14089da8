"""The stops and shutdowns of a run with a possible charge, from its log."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from orchestrator.action import Action
from orchestrator.audit.events import ENDED, Event
from orchestrator.audit.record import Record
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import Phase, TargetState
from orchestrator.billing.reconciled import Reconciled
from orchestrator.billing.stop import Stop
from orchestrator.cvm import normal_uuid
from orchestrator.moment import parse_timestamp
from orchestrator.run_bill import charges_nothing

_IN_DOUBT = frozenset({Phase.SENDING, Phase.UNKNOWN})
_Key = tuple[str, str]


def triggering(state: RunState) -> list[TargetState]:
    """List the targets for `reconcile`: stops and shutdowns with a certain or possible effect.

    Refused, unsent and too late requests are left out, and so are starts, restarts, and stops of CVMs already on their
    way down.
    """
    return [
        target
        for target in state.targets.values()
        if not Action(target.action).leaves_running
        and (target.billing is not None or target.phase in _IN_DOUBT)
        and not charges_nothing(target.billing or target.bill)
    ]


def reconciled_in(state: RunState) -> dict[_Key, Reconciled]:
    """Return the recorded charges by step and CVM; targets without a reconciliation are left out."""
    return {
        (target.step, target.ref.key): Reconciled.parse(target.reconciled)
        for target in triggering(state)
        if target.reconciled is not None
    }


class StopsFold:
    """A fold over the records of a log, in order, to return the stops with their timestamps.

    Attributes:
        state: the replayed state of the same records.
    """

    def __init__(self) -> None:
        self.state = RunState()
        self._sent: dict[_Key, str] = {}
        self._accepted: dict[_Key, Record] = {}
        self._down: dict[_Key, str] = {}
        self._ended: dict[_Key, str] = {}

    def take(self, record: Record) -> None:
        """Add the next record."""
        event = record["event"]
        if event.startswith(("action.", "target.")):
            self._take_moment(event, record)
        self.state.apply(record)

    def _take_moment(self, event: str, record: Record) -> None:
        cvm = record["cvm"]
        key = record["step"], cvm.get("id") or normal_uuid(cvm.get("vm_uuid") or "")
        if event == Event.ACTION_INTENT:
            # A request without an effect begins no window. An effective request does, whatever was sent later.
            if key not in self._accepted and self.state.targets[key].phase is Phase.WAITING:
                self._sent[key] = record["ts"]
        elif event == Event.ACTION_ACCEPTED:
            self._accepted[key] = {"ts": record["ts"], "action": record["action"]}
        elif event in ENDED:
            self._ended[key] = record["ts"]
            if event == Event.TARGET_SETTLED:
                self._down.setdefault(key, record["ts"])

    def stops(self) -> dict[str, list[Stop]]:
        """Return the stops of every CVM in the order of sending, by the CVM's key."""
        last = (self.state.finished or {}).get("ts") or self.state.last_ts
        sent: dict[str, list[datetime]] = {}
        for (_, cvm), at in self._sent.items():
            sent.setdefault(cvm, []).append(parse_timestamp(at))
        found: dict[str, list[Stop]] = {}
        for target in triggering(self.state):
            stop = self._stop(target, last)
            # Later charges belong to the next action, whether a stop or not.
            later = min((at for at in sent[target.ref.key] if at > stop.sent), default=None)
            found.setdefault(target.ref.key, []).append(replace(stop, later=later))
        return {cvm: sorted(stops, key=lambda stop: stop.sent) for cvm, stops in found.items()}

    def _stop(self, target: TargetState, last: str) -> Stop:
        key = target.step, target.ref.key
        accepted, down = self._accepted.get(key), self._down.get(key)
        ended = self._ended.get(key, last)
        return Stop(
            step=target.step,
            action=Action(accepted["action"] if accepted else target.action),
            ref=target.ref,
            sent=parse_timestamp(self._sent[key]),
            accepted=None if accepted is None else parse_timestamp(accepted["ts"]),
            ended=parse_timestamp(ended),
            down=None if down is None else parse_timestamp(down),
            rate=_rate(target.billing or target.bill),
        )


def _rate(billing: Mapping[str, object]) -> Decimal | None:
    rate = billing.get("compute_usd_per_hour")
    return None if rate is None else Decimal(str(rate))
