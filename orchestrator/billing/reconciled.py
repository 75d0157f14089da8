"""The reconciled charge of a stop, as recorded in the log: expected, charged, and the difference."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from orchestrator.billing.rates import format_amount
from orchestrator.cvm import CvmRef


class ChargeState(StrEnum):
    """States of a stop's charge."""

    CHARGED = "charged"
    """The usage records exist."""
    PENDING = "pending"
    """No usage record exists yet; a later read may find the record."""
    NONE = "none"
    """No usage record came within the time limit for charges."""
    UNKNOWN = "unknown"
    """The charge can't be found out, for the given reason."""

    @property
    def is_final(self) -> bool:
        """Whether a later read can't change the state."""
        return self is not ChargeState.PENDING


class Basis(StrEnum):
    """Sources of a figure."""

    OBSERVED = "observed"
    """The vendor's usage records."""
    ESTIMATED = "estimated"
    """An estimate of this program."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An amount of compute.

    Attributes:
        usd: US dollars; None if unknown.
        minutes: minutes of usage; None if unknown.
        basis: the source of both.
    """

    usd: Decimal | None
    minutes: Decimal | None
    basis: Basis

    def document(self) -> dict[str, str | None]:
        """Return the form of the audit log and of JSON documents."""
        return {"usd": _format_known(self.usd), "minutes": _format_known(self.minutes), "basis": self.basis.value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Parse the form of `document`."""
        return cls(_parse_amount(document["usd"]), _parse_amount(document["minutes"]), Basis(document["basis"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """A `billing.reconciled` record.

    Attributes:
        step: the target's step.
        action: the target's action.
        ref: the CVM.
        asked_at: time of the usage read, RFC 3339 in UTC.
        since: start of the window of possible charges.
        until: end of the window; None, like `since`, without a window.
        standing: the state of the charge.
        expected: the open minutes times the compute rate.
        charged: the charge in the usage records; null figures unless `standing` is `charged` or `none`.
        billing_keys: the keys of the usage records, in order; records without a key are left out.
        reason: the reason for a missing charge, or a remark; None without both.
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
        """Charged minus expected, in US dollars, an estimate like `expected`; None if either is unknown."""
        charged, expected = self.charged.usd, self.expected.usd
        return None if charged is None or expected is None else charged - expected

    def document(self) -> dict[str, object]:
        """Return the fields of the record."""
        return {
            "step": self.step,
            "action": self.action,
            "cvm": self.ref.document(),
            "asked_at": self.asked_at,
            "window": {"from": self.since, "to": self.until},
            "state": self.standing.value,
            "expected": self.expected.document(),
            "charged": self.charged.document(),
            "difference_usd": _format_known(self.difference),
            "billing_keys": list(self.billing_keys),
            "reason": self.reason,
        }

    @classmethod
    def from_document(cls, record: Mapping[str, Any]) -> Self:
        """Parse a `billing.reconciled` record."""
        return cls(
            step=record["step"],
            action=record["action"],
            ref=CvmRef.of(record["cvm"]),
            asked_at=record["asked_at"],
            since=record["window"]["from"],
            until=record["window"]["to"],
            standing=ChargeState(record["state"]),
            expected=Figure.from_document(record["expected"]),
            charged=Figure.from_document(record["charged"]),
            billing_keys=tuple(record["billing_keys"]),
            reason=record["reason"],
        )

    def says_the_same_as(self, other: "Reconciled") -> bool:
        """Return True if both records agree, apart from the time of the read and the clock."""
        return replace(self, asked_at="", since=other.since, until=other.until) == replace(other, asked_at="")


@dataclass(frozen=True, slots=True)
class ReconciledTotal:
    """The charges of many stops together.

    Attributes:
        charged_usd: the sum of the known charges.
        charged_minutes: the minutes of these charges, as far as known.
        expected_usd: the sum of the known expected charges, whatever the actual charge.
        difference_usd: the sum of the known differences.
        standings: the number of stops in each state.
        compared: the number of stops with a known difference.
    """

    charged_usd: Decimal
    charged_minutes: Decimal
    expected_usd: Decimal
    difference_usd: Decimal
    standings: Mapping[ChargeState, int]
    compared: int

    @property
    def charged_stops(self) -> int:
        """The number of stops with a charge."""
        return self.standings.get(ChargeState.CHARGED, 0)

    @property
    def pending_stops(self) -> int:
        """The number of stops with a possible later charge."""
        return self.standings.get(ChargeState.PENDING, 0)

    @property
    def unknown_stops(self) -> int:
        """The number of stops with an unknown charge."""
        return self.standings.get(ChargeState.UNKNOWN, 0)

    def document(self) -> dict[str, object]:
        """Return the form of JSON documents."""
        return {
            "charged_usd": format_amount(self.charged_usd),
            "charged_minutes": format_amount(self.charged_minutes),
            "expected_usd": format_amount(self.expected_usd),
            "difference_usd": format_amount(self.difference_usd),
            "compared": self.compared,
            **{standing.value: self.standings.get(standing, 0) for standing in ChargeState},
        }


def add_up_charges(stops: Iterable[Reconciled]) -> ReconciledTotal:
    """Add up the charges of many stops: exact decimals, nothing rounded.

    Args:
        stops: the last record of each stop.
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


def _format_known(amount: Decimal | None) -> str | None:
    return None if amount is None else format_amount(amount)


def _parse_amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
