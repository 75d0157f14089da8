"""What a run did to the bill, by app and by teepod: what ended, what goes on, and what was charged. Sums are exact."""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeAlias

from orchestrator.action import Action
from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.note import NOTES
from orchestrator.billing.rates import Rates, Total
from orchestrator.billing.reconciled import Basis, Reconciled, total
from orchestrator.report.stops import triggering

_Money: TypeAlias = dict[str, Any]
_Group: TypeAlias = tuple[str | None, str | None]

_NOT_ASKED = "not_asked"
_WAITING = frozenset({"pending", _NOT_ASKED})


def money_document(state: RunState) -> _Money:
    """The part `billing` of a report: rates as the accepted actions' notes have them, and charges as reconciled."""
    accepted = [target for target in state.targets.values() if target.billing is not None]
    stops = triggering(state)
    notes = Counter(code for target in accepted for code in (target.billing or {}).get("notes") or ())
    return {
        "currency": "USD",
        "total": _sum(accepted, stops),
        "by_app": _grouped(accepted, stops, lambda target: (target.ref.app_id, target.ref.app_id)),
        "by_teepod": _grouped(accepted, stops, lambda target: (target.ref.teepod_key or None, target.ref.teepod)),
        "not_charged_yet": [
            {"step": target.step, "cvm": target.ref.document(), **charge}
            for target in stops
            if (charge := _charge(target))["state"] in _WAITING
        ],
        "notes": [{"code": code, "count": count, "meaning": NOTES.get(code)} for code, count in sorted(notes.items())],
    }


def charge_document(target: TargetState) -> _Money | None:
    """What one target was charged, as far as it was asked; None where nothing was to be charged."""
    stops = RunState(targets={("", ""): target})
    return _charge(target) if triggering(stops) else None


def _charge(target: TargetState) -> _Money:
    found = target.reconciled or {}
    return {
        "state": found.get("state", _NOT_ASKED),
        "expected_usd": (found.get("expected") or {}).get("usd"),
        "charged_usd": (found.get("charged") or {}).get("usd"),
        "reason": found.get("reason"),
    }


def _grouped(
    accepted: list[TargetState], stops: list[TargetState], group: Callable[[TargetState], _Group]
) -> list[_Money]:
    """The sums by what targets have in common, the largest first."""
    members: dict[str | None, tuple[list[TargetState], list[TargetState]]] = {}
    names: dict[str | None, str | None] = {}
    for number, targets in enumerate((accepted, stops)):
        for target in targets:
            key, name = group(target)
            members.setdefault(key, ([], []))[number].append(target)
            names[key] = names.get(key) or name
    sums = [{"key": key, "name": names[key], **_sum(*each)} for key, each in members.items()]
    return sorted(sums, key=lambda each: (-Decimal(each["ended"]["known_compute_usd_per_hour"]), str(each["name"])))


def _sum(accepted: list[TargetState], stops: list[TargetState]) -> _Money:
    down = [target for target in accepted if target.action in {Action.STOP, Action.SHUTDOWN}]
    begun = [target for target in accepted if target.action == Action.START]
    found = [Reconciled.parse(target.reconciled) for target in stops if target.reconciled is not None]
    return {
        "stops": len(stops),
        "starts": len(begun),
        "ended": _rate(down),
        "begun": _rate(begun) if begun else None,
        "charged": {"basis": Basis.OBSERVED.value, **total(found).document(), _NOT_ASKED: len(stops) - len(found)},
    }


def _rate(targets: Iterable[TargetState]) -> _Money:
    """The rates together, those of each CVM once: one that was shut down and then stopped ends once."""
    by_cvm = {target.ref.key: target.billing for target in targets if target.billing is not None}
    rates = (
        Rates(_money(note["compute_usd_per_hour"]), _money(note["storage_usd_per_hour"]), note["rate_source"])
        for note in by_cvm.values()
    )
    return {"basis": Basis.ESTIMATED.value, "cvms": len(by_cvm), **Total.of(rates).document()}


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
