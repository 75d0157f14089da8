"""Effects of a run's accepted actions on the bill. Pure; the engine and the audit log count with the same functions.

An accepted request does not lower the bill yet: only a CVM seen down counts as stopped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from orchestrator.action import Action
from orchestrator.cvm import COMING_UP, DOWN, UP
from orchestrator.outcome import Outcome

ALREADY_GOING_DOWN = "already_going_down"
"""Billing note of a stop without a charge: another stop had begun before."""

_AS_WANTED = frozenset({Outcome.SETTLED, Outcome.SKIPPED})
_RUNS = COMING_UP | {UP}


class Effect(StrEnum):
    """Result of an accepted stop, shutdown or start."""

    CONFIRMED = "confirmed"
    """A later status read showed the wanted status."""
    DELETED = "deleted"
    """The CVM is gone, and its disk with it."""
    PENDING = "pending"
    """No status read has shown the wanted status yet."""
    UNDONE = "undone"
    """A later status read showed the earlier status again."""


@dataclass(frozen=True, slots=True)
class BilledTarget:
    """The billing facts of a target.

    Attributes:
        cvm: the key of the CVM.
        action: the action.
        outcome: the outcome; None before the end.
        status: the last status seen.
        billed: whether the action was accepted.
        charges: whether the action changes the bill: false for a stop of a CVM that was on its way down already.
        compute: USD per hour; None where unknown.
        storage: USD per hour; None where unknown.
    """

    cvm: str
    action: Action
    outcome: Outcome | None
    status: str | None
    billed: bool
    charges: bool
    compute: Decimal | None
    storage: Decimal | None

    @property
    def effect(self) -> Effect:
        """Result of the action."""
        if self.outcome in _AS_WANTED:
            return Effect.CONFIRMED
        if self.action.starts_cvms:
            back = self.outcome is Outcome.FAILED and self.status in DOWN
            return Effect.UNDONE if back else Effect.PENDING
        if self.outcome is Outcome.GONE:
            return Effect.DELETED
        back = self.outcome is Outcome.FAILED and self.status in _RUNS
        return Effect.UNDONE if back or self.outcome is Outcome.RESURRECTED else Effect.PENDING


def billed_cvms(targets: Iterable[BilledTarget], actions: frozenset[Action]) -> dict[str, tuple[BilledTarget, Effect]]:
    """Find the CVMs with a bill changed by these actions, and the result for each CVM.

    A CVM of several steps counts once. A later step confirms an earlier step if the CVM is already as wanted.

    Args:
        targets: the targets of a run, in the order of its steps.
        actions: stops and shutdowns, or starts.
    """
    found: dict[str, tuple[BilledTarget, Effect]] = {}
    for target in targets:
        if target.action not in actions:
            continue
        if target.billed and target.charges:
            found[target.cvm] = target, target.effect
        elif target.cvm in found and target.effect in {Effect.CONFIRMED, Effect.DELETED}:
            found[target.cvm] = found[target.cvm][0], target.effect
    return found


TAKE_DOWN = frozenset(action for action in Action if not action.leaves_running)
BRING_UP = frozenset(action for action in Action if action.starts_cvms)


def run_bill(targets: Iterable[BilledTarget]) -> dict[str, object]:
    """Sum up a run in USD per hour; null where a part is unknown.

    `triggered` counts the CVMs whose stop was accepted. The rates cover the CVMs seen down; `pending` covers
    the CVMs not yet seen down. `starts` has the same of starts, if there are any.
    """
    every = list(targets)
    down, started = billed_cvms(every, TAKE_DOWN).values(), billed_cvms(every, BRING_UP).values()
    bill: dict[str, object] = {"triggered": len(down), **_sums(down)}
    return bill | {"starts": {"accepted": len(started), **_sums(started)}} if started else bill


def _sums(cvms: Iterable[tuple[BilledTarget, Effect]]) -> dict[str, object]:
    pending = [target for target, effect in cvms if effect is Effect.PENDING]
    sums: dict[str, object] = {
        "compute_usd_per_hour": _sum(
            target.compute for target, effect in cvms if effect in {Effect.CONFIRMED, Effect.DELETED}
        ),
        "storage_usd_per_hour": _sum(target.storage for target, effect in cvms if effect is Effect.CONFIRMED),
    }
    if pending:
        sums["pending"] = {
            "cvms": len(pending),
            "compute_usd_per_hour": _sum(target.compute for target in pending),
            "storage_usd_per_hour": _sum(target.storage for target in pending),
        }
    return sums


def _sum(amounts: Iterable[Decimal | None]) -> str | None:
    total = Decimal(0)
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    text = f"{total:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def charges_nothing(codes: object) -> bool:
    """Check the codes of a billing note, or of a record, for an action without a charge of its own."""
    return isinstance(codes, list | tuple) and ALREADY_GOING_DOWN in codes
