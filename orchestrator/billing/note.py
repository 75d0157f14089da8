"""The billing note of an accepted action."""

from collections.abc import Collection
from dataclasses import dataclass

from orchestrator.action import Action
from orchestrator.billing.rates import NOT_HOURLY, Rates, format_amount
from orchestrator.cvm import GOING_DOWN, Cvm
from orchestrator.run_bill import ALREADY_GOING_DOWN

NOTES = {
    "open_compute_charged": "compute used since the last charge is charged at once, to the minute",
    "compute_ends": "compute is not charged any more once the CVM is down",
    ALREADY_GOING_DOWN: "the CVM was on its way down already, so this request charged nothing",
    "compute_begins": "compute is charged again from the start on, to the minute",
    "storage_continues": "storage is charged until the CVM is deleted",
    "gpu_24h_minimum_on_restart": "starting this GPU CVM again is charged a new 24-hour minimum up front",
    "gpu_24h_minimum": "the start of this GPU CVM is charged a new 24-hour minimum up front",
    "gpu_24h_minimum_possible": "whether a restart of this GPU CVM is charged a new 24-hour minimum is not documented",
    "restart_charge_unknown": "whether a restart charges the open compute usage at once is not documented",
    "gpu_rental": "the list marks this CVM as managed by a GPU rental, which usually refuses a stop",
    "compute_rate_unknown": "the API's answers do not say what this CVM costs per hour",
    "not_billed_hourly": "this CVM is not billed by the hour, so no hourly figure is given",
}
"""Every note code with its meaning; the docs list the codes from here."""


@dataclass(frozen=True, slots=True)
class BillingNote:
    """Effect of an action on the bill.

    Attributes:
        rates: the CVM's rates at the time of the plan.
        codes: the applicable keys of `NOTES`, in order.
        triggered: whether the action has open usage charged at once; None if the vendor's documents do not say.
    """

    rates: Rates
    codes: tuple[str, ...]
    triggered: bool | None = True

    def for_action(self, action: Action) -> "BillingNote":
        """Create the note of another action on the same CVM."""
        gpus = any(each.spec.gpu_note in self.codes for each in Action)
        kept = [code for code in self.codes if code in _OF_THE_CVM]
        codes = (*action.spec.notes, *([action.spec.gpu_note] if gpus else []), *kept)
        return BillingNote(self.rates, codes, triggers_billing(action, codes))

    def document(self, at: str) -> dict[str, object]:
        """Return the `billing` field of `action.accepted`.

        Args:
            at: the time of acceptance, RFC 3339 in UTC.
        """
        return {"triggered": self.triggered, "at": at, **self.plan_fields()}

    def plan_fields(self) -> dict[str, object]:
        """Return the fields known before the request, as in `run.planned`."""
        compute, storage = self.rates.compute, self.rates.storage
        return {
            "compute_usd_per_hour": None if compute is None else format_amount(compute),
            "storage_usd_per_hour": None if storage is None else format_amount(storage),
            "rate_source": self.rates.source,
            "notes": list(self.codes),
        }


_OF_THE_CVM = frozenset({"gpu_rental", "compute_rate_unknown", "not_billed_hourly"})
"""Codes about the CVM itself, for every action."""


def triggers_billing(action: Action, codes: Collection[str] = ()) -> bool | None:
    """Return True if an action has open usage charged at once; None if the vendor's documents do not say.

    Args:
        action: the action.
        codes: the codes of the action's note.
    """
    charges = action.spec.charges
    return None if charges is None else charges and ALREADY_GOING_DOWN not in codes


def billing_note(cvm: Cvm, rates: Rates, action: Action) -> BillingNote:
    """Create the billing note of an action on a CVM."""
    every = action.spec.notes
    if cvm.status in GOING_DOWN and not action.leaves_running:
        every = (ALREADY_GOING_DOWN, "storage_continues")
    codes = [*every, action.spec.gpu_note] if cvm.gpus else [*every]
    if cvm.gpu_rental and not action.leaves_running:
        codes.append("gpu_rental")
    if cvm.billing_period in NOT_HOURLY:
        codes.append("not_billed_hourly")
    elif rates.compute is None:
        codes.append("compute_rate_unknown")
    return BillingNote(rates, tuple(codes), triggers_billing(action, codes))
