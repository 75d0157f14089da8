"""The billing note of an accepted stop."""

from dataclasses import dataclass

from orchestrator.billing.rates import NOT_HOURLY, Rates, plain
from orchestrator.cvm import Cvm

NOTES = {
    "open_compute_charged": "compute used since the last charge is charged at once, to the minute",
    "compute_ends": "compute is not charged any more once the CVM is down",
    "storage_continues": "the disk goes on being charged until the CVM is deleted",
    "gpu_24h_minimum_on_restart": "starting this GPU CVM again is charged a new 24-hour minimum up front",
    "gpu_rental": "the list marks this CVM as managed by a GPU rental, which usually refuses a stop",
    "compute_rate_unknown": "the API's answers do not say what this CVM costs per hour",
    "not_billed_hourly": "this CVM is not billed by the hour, so no hourly figure is given",
}
"""Every note code with its meaning; the docs list them from here."""


@dataclass(frozen=True, slots=True)
class BillingNote:
    """What one stop does to the bill.

    Attributes:
        rates: the CVM's rates at the time of the plan.
        codes: keys of `NOTES` that apply, in order.
    """

    rates: Rates
    codes: tuple[str, ...]

    def document(self, at: str) -> dict[str, object]:
        """The `billing` field of `action.accepted`.

        Args:
            at: when the stop was accepted, RFC 3339 in UTC.
        """
        return {"triggered": True, "at": at, **self.fields()}

    def fields(self) -> dict[str, object]:
        """What holds of the note before anything was stopped, as `run.planned` has it."""
        compute, storage = self.rates.compute, self.rates.storage
        return {
            "compute_usd_per_hour": None if compute is None else plain(compute),
            "storage_usd_per_hour": None if storage is None else plain(storage),
            "rate_source": self.rates.source,
            "notes": list(self.codes),
        }


def billing_note(cvm: Cvm, rates: Rates) -> BillingNote:
    """What stopping this CVM does to the bill."""
    codes = ["open_compute_charged", "compute_ends", "storage_continues"]
    if cvm.gpus:
        codes.append("gpu_24h_minimum_on_restart")
    if cvm.gpu_rental:
        codes.append("gpu_rental")
    if cvm.billing_period in NOT_HOURLY:
        codes.append("not_billed_hourly")
    elif rates.compute is None:
        codes.append("compute_rate_unknown")
    return BillingNote(rates, tuple(codes))
