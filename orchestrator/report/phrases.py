"""The phrases of outcomes, charges and verdicts: one table for each, a phrase for every member. And narrowings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.audit.verify import Verdict
from orchestrator.billing.reconciled import ChargeState
from orchestrator.outcome import Outcome


@dataclass(frozen=True, slots=True)
class OutcomePhrase:
    """The phrases of an outcome.

    Attributes:
        meaning: the explanation beside the outcome itself.
        sentence: the end of a CVM, without its subject.
        plural: the end of several CVMs, after `CVMs that`.
    """

    meaning: str
    sentence: str
    plural: str


OUTCOMES: Mapping[Outcome, OutcomePhrase] = {
    Outcome.SETTLED: OutcomePhrase("as wanted, and still so at the end", "settled", "settled"),
    Outcome.GONE: OutcomePhrase("deleted meanwhile", "gone: deleted meanwhile", "were deleted"),
    Outcome.SKIPPED: OutcomePhrase("already as wanted before its turn", "skipped: already as wanted", "were skipped"),
    Outcome.REFUSED: OutcomePhrase("the API refuses the action", "refused by the API", "were refused"),
    Outcome.FAILED: OutcomePhrase("failed for good", "failed", "failed"),
    Outcome.UNSETTLED: OutcomePhrase("did not settle in time", "did not settle in time", "did not settle"),
    Outcome.RESURRECTED: OutcomePhrase(
        "was down, and came up again", "came up again after it was down", "came up again"
    ),
    Outcome.NOT_SENT: OutcomePhrase("nothing was sent", "not sent: the run ended before", "were not sent"),
}

CHARGES: Mapping[ChargeState, str] = {
    ChargeState.CHARGED: "charged",
    ChargeState.PENDING: "pending",
    ChargeState.NONE: "not charged",
    ChargeState.UNKNOWN: "of unknown charge",
}
"""After a number of stops."""

VERDICTS: Mapping[Verdict, str] = {
    Verdict.WHOLE: "✓ whole and finished at the time of this report",
    Verdict.UNFINISHED: "whole so far; the run has not finished",
    Verdict.TORN: "whole so far; the last line was cut off",
    Verdict.ALTERED: "✗ ALTERED",
}
"""The results of a check of the hash chain."""


def describe_narrowing(fields: Mapping[str, Any]) -> str:
    """Write the form of `Narrowing.document` as options of a command; other forms, of foreign logs, as text."""
    try:
        only = [f"--only {key}={value}" for key, values in fields["only"].items() for value in values]
        exclude = [f"--exclude {key}={value}" for each in fields["exclude"] for key, value in each.items()]
    except (AttributeError, KeyError, TypeError):
        return str(fields)
    return ", ".join([*only, *exclude])
