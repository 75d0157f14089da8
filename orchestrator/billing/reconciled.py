"""What reconciling found out about one stop, as the log has it: expected, charged, and the difference."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from orchestrator.billing.rates import plain
from orchestrator.cvm import CvmRef


class ChargeState(StrEnum):
    """What is known of the charge that a stop triggered."""

    CHARGED = "charged"
    """Its usage records are there."""
    PENDING = "pending"
    """None is there yet; asking again later may find it."""
    NONE = "none"
    """None came within the time after which none is to be expected any more."""
    UNKNOWN = "unknown"
    """It can't be found out, for the reason that is given."""

    @property
    def final(self) -> bool:
        """Whether asking again is of no use."""
        return self is not ChargeState.PENDING


class Basis(StrEnum):
    """Where a figure comes from."""

    OBSERVED = "observed"
    """The vendor's usage records say so."""
    ESTIMATED = "estimated"
    """Reckoned by this program from what it knows."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An amount for compute.

    Attributes:
        usd: in US dollars; None where unknown.
        minutes: what it is for; None where unknown.
        basis: where both come from.
    """

    usd: Decimal | None
    minutes: Decimal | None
    basis: Basis

    def document(self) -> dict[str, str | None]:
        """As the audit log and JSON documents have it."""
        return {"usd": _text(self.usd), "minutes": _text(self.minutes), "basis": self.basis.value}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The figure that `document` wrote."""
        return cls(_decimal(document["usd"]), _decimal(document["minutes"]), Basis(document["basis"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """One `billing.reconciled` record.

    Attributes:
        step: the target's step.
        action: its action.
        ref: the CVM.
        asked_at: when the usage was asked for, RFC 3339 in UTC.
        since: where the window begins in which its charge is looked for.
        until: where it ends; None with `since` where there was nothing to look for.
        standing: what is known.
        expected: the open minutes times the compute rate.
        charged: what the usage records say; null figures unless `standing` is `charged` or `none`.
        billing_keys: of those records, in order; one that has none is left out.
        reason: in words why it is not charged, or what is peculiar; None where there is nothing to say.
    """

    step: str
    action: str
    ref: CvmRef
    asked_at: str
    since: str | None
    until: str | None
    standing: ChargeState
    expected: Figure
    charged: Figure
    billing_keys: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def difference(self) -> Decimal | None:
        """Charged less expected, in US dollars; as much an estimate as `expected` is. None where either is unknown."""
        charged, expected = self.charged.usd, self.expected.usd
        return None if charged is None or expected is None else charged - expected

    def document(self) -> dict[str, object]:
        """The fields of the record."""
        return {
            "step": self.step,
            "action": self.action,
            "cvm": self.ref.document(),
            "asked_at": self.asked_at,
            "window": {"from": self.since, "to": self.until},
            "state": self.standing.value,
            "expected": self.expected.document(),
            "charged": self.charged.document(),
            "difference_usd": _text(self.difference),
            "billing_keys": list(self.billing_keys),
            "reason": self.reason,
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Self:
        """What a `billing.reconciled` record says."""
        return cls(
            step=record["step"],
            action=record["action"],
            ref=CvmRef.of(record["cvm"]),
            asked_at=record["asked_at"],
            since=record["window"]["from"],
            until=record["window"]["to"],
            standing=ChargeState(record["state"]),
            expected=Figure.parse(record["expected"]),
            charged=Figure.parse(record["charged"]),
            billing_keys=tuple(record["billing_keys"]),
            reason=record["reason"],
        )

    def says_the_same_as(self, other: "Reconciled") -> bool:
        """Whether both say the same, whenever each was asked for and by whatever clock."""
        return replace(self, asked_at="", since=other.since, until=other.until) == replace(other, asked_at="")


@dataclass(frozen=True, slots=True)
class ReconciledTotal:
    """What many stops together were charged.

    Attributes:
        charged_usd: the sum of what is known to be charged.
        charged_minutes: the minutes that it is for, as far as the usage records say.
        expected_usd: the sum of what was expected of the stops whose expectation is known, whatever became of them.
        difference_usd: the sum of the differences that are known.
        standings: how many stops stand how.
        compared: for how many the difference is known.
    """

    charged_usd: Decimal
    charged_minutes: Decimal
    expected_usd: Decimal
    difference_usd: Decimal
    standings: Mapping[ChargeState, int]
    compared: int

    @property
    def charged(self) -> int:
        """For how many stops a charge was found."""
        return self.standings.get(ChargeState.CHARGED, 0)

    @property
    def pending(self) -> int:
        """For how many stops it may still come."""
        return self.standings.get(ChargeState.PENDING, 0)

    @property
    def unknown(self) -> int:
        """For how many stops it can't be found out."""
        return self.standings.get(ChargeState.UNKNOWN, 0)

    def document(self) -> dict[str, object]:
        """As JSON documents have it."""
        return {
            "charged_usd": plain(self.charged_usd),
            "charged_minutes": plain(self.charged_minutes),
            "expected_usd": plain(self.expected_usd),
            "difference_usd": plain(self.difference_usd),
            "compared": self.compared,
            **{standing.value: self.standings.get(standing, 0) for standing in ChargeState},
        }


def total(stops: Iterable[Reconciled]) -> ReconciledTotal:
    """Add up what many stops were charged: exact decimals, nothing rounded.

    Args:
        stops: one for each stop, the last that was recorded.
    """
    every = list(stops)
    differences = [each.difference for each in every if each.difference is not None]
    return ReconciledTotal(
        charged_usd=sum((each.charged.usd or Decimal(0) for each in every), Decimal(0)),
        charged_minutes=sum((each.charged.minutes or Decimal(0) for each in every), Decimal(0)),
        expected_usd=sum((each.expected.usd or Decimal(0) for each in every), Decimal(0)),
        difference_usd=sum(differences, Decimal(0)),
        standings=Counter(each.standing for each in every),
        compared=len(differences),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else plain(amount)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
