"""The effect of a run on the bill, by app and by teepod: ended rates, continuing rates, and charges. Sums are exact."""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeAlias

from orchestrator.audit.replay import RunState
from orchestrator.audit.target import TargetState
from orchestrator.billing.rates import NOTES, Rates, Total
from orchestrator.billing.reconciled import Basis, Reconciled, add_up_charges
from orchestrator.run_bill import BRING_UP, TAKE_DOWN, BilledTarget, Effect, billed_cvms
from orchestrator.runs.stops import list_chargeable_targets

_Money: TypeAlias = dict[str, Any]
_Group: TypeAlias = tuple[str | None, str | None]

_NOT_ASKED = "not_asked"
_WAITING = frozenset({"pending", _NOT_ASKED})


def build_billing(state: RunState) -> _Money:
    """Build the part `billing` of a report: rates from the accepted actions' notes, and reconciled charges."""
    accepted = [target for target in state.targets.values() if target.billing is not None]
    stops = list_chargeable_targets(state)
    notes = Counter(code for target in accepted for code in (target.billing or {}).get("notes") or ())
    return {
        "currency": "USD",
        "total": _add_up_targets(state.targets.values(), stops),
        "by_app": _group_sums(state, stops, lambda target: (target.ref.app_id, target.ref.app_id)),
        "by_teepod": _group_sums(state, stops, lambda target: (target.ref.teepod_key or None, target.ref.teepod)),
        "not_charged_yet": [
            {"step": target.step, "cvm": target.ref.document(), **charge}
            for target in stops
            if (charge := _describe_charge(target))["state"] in _WAITING
        ],
        "notes": [{"code": code, "count": count, "meaning": NOTES.get(code)} for code, count in sorted(notes.items())],
    }


def build_charge(target: TargetState) -> _Money | None:
    """Return the known charge of a target; None for a target without a charge."""
    stops = RunState(targets={("", ""): target})
    return _describe_charge(target) if list_chargeable_targets(stops) else None


def _describe_charge(target: TargetState) -> _Money:
    found = target.reconciled
    return {
        "state": _NOT_ASKED if found is None else found.state,
        "expected_usd": ((found and found.expected) or {}).get("usd"),
        "charged_usd": ((found and found.charged) or {}).get("usd"),
        "reason": found and found.reason,
    }


def _group_sums(state: RunState, stops: list[TargetState], group: Callable[[TargetState], _Group]) -> list[_Money]:
    """Group the sums by a property of the targets, the largest first.

    Groups without an accepted action are left out.
    """
    members: dict[str | None, tuple[list[TargetState], list[TargetState]]] = {}
    names: dict[str | None, str | None] = {}
    for number, targets in enumerate((state.targets.values(), stops)):
        for target in targets:
            key, name = group(target)
            members.setdefault(key, ([], []))[number].append(target)
            names[key] = names.get(key) or name
    sums = [
        {"key": key, "name": names[key], **_add_up_targets(targets, of_them)}
        for key, (targets, of_them) in members.items()
        if of_them or any(target.billing is not None for target in targets)
    ]
    return sorted(sums, key=lambda each: (-Decimal(each["ended"]["known_compute_usd_per_hour"]), str(each["name"])))


def _add_up_targets(targets: Iterable[TargetState], stops: list[TargetState]) -> _Money:
    billed = [target.billed_target for target in targets]
    down, started = (list(billed_cvms(billed, actions).values()) for actions in (TAKE_DOWN, BRING_UP))
    found = [Reconciled.from_document(target.reconciled.record) for target in stops if target.reconciled is not None]
    return {
        "stops": len(stops),
        "starts": len(started),
        "ended": _add_up_rates(down, Effect.CONFIRMED, Effect.DELETED),
        "pending": _add_up_rates(down, Effect.PENDING),
        "begun": _add_up_rates(started, Effect.CONFIRMED) if started else None,
        "begun_pending": _add_up_rates(started, Effect.PENDING) if started else None,
        "charged": {
            "basis": Basis.OBSERVED.value,
            **add_up_charges(found).document(),
            _NOT_ASKED: len(stops) - len(found),
        },
    }


def _add_up_rates(cvms: Iterable[tuple[BilledTarget, Effect]], *effects: Effect) -> _Money:
    """Sum the rates of the CVMs with the given effects. Deleted CVMs have no storage rate."""
    rates = [
        Rates(target.compute, Decimal(0) if effect is Effect.DELETED else target.storage, None)
        for target, effect in cvms
        if effect in effects
    ]
    return {"basis": Basis.ESTIMATED.value, "cvms": len(rates), **Total.sum_rates(rates).document()}
