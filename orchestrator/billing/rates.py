"""Hourly rates of a CVM with their source, and the billing note of an accepted action."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.action import Action
from orchestrator.cvm import GOING_DOWN, Cvm
from orchestrator.run_bill import ALREADY_GOING_DOWN
from orchestrator.value_class import value_class

STORAGE_USD_PER_GB_HOUR = Decimal("0.000139")
"""The vendor's published storage price, for running and stopped CVMs alike."""

NOT_HOURLY = frozenset({"monthly", "skip"})
"""Billing periods in which a CVM is not charged by the hour."""

HOURS_PER_MONTH = 730
"""365 days of 24 hours, by 12 months."""


@value_class(frozen=True, slots=True)
class Rates:
    """The rates of a CVM.

    Attributes:
        compute: USD per hour while running; None if unknown.
        storage: USD per hour, running or stopped; None if the disk's size is unknown.
        source: the source of the compute rate: `hourly_rate` or `compute_billing_price` (both the CVM's own entry in
            the list), `instance_types` (the public price list); None if unknown.
    """

    compute: Decimal | None
    storage: Decimal | None
    source: str | None


def rates_of(cvm: Cvm, price_list: Mapping[str, Decimal], storage_usd_per_gb_hour: Decimal) -> Rates:
    """Find the rates of a CVM.

    Args:
        cvm: the CVM in the list.
        price_list: USD per hour by instance type; empty if not read.
        storage_usd_per_gb_hour: the setting `billing.storage_usd_per_gb_hour`.
    """
    storage = cvm.hourly_disk
    if storage is None and cvm.disk_gb is not None:
        storage = cvm.disk_gb * storage_usd_per_gb_hour
    compute, source = choose_rate(cvm, price_list)
    return Rates(compute, storage, source)


def choose_rate(cvm: Cvm, price_list: Mapping[str, Decimal]) -> tuple[Decimal | None, str | None]:
    """Return the compute rate of a CVM in USD per hour while running, and the source of the rate."""
    if cvm.billing_period in NOT_HOURLY:
        # An hourly price would be a guess, and no hourly charge ends with a stop.
        return None, None
    if cvm.hourly_compute is not None:
        return cvm.hourly_compute, "hourly_rate"
    if cvm.billing_price is not None and cvm.billing_period == "hourly":
        return cvm.billing_price, "compute_billing_price"
    listed = price_list.get(cvm.instance_type) if cvm.instance_type else None
    if listed is not None and cvm.billing_period in {None, "hourly"}:
        return listed, "instance_types"
    return None, None


def needs_price_list(cvms: Iterable[Cvm]) -> bool:
    """Return True if the public price list could complete a missing rate of these CVMs."""
    nothing: dict[str, Decimal] = {}
    return any(
        cvm.instance_type is not None
        and cvm.billing_period in {None, "hourly"}
        and choose_rate(cvm, nothing)[0] is None
        for cvm in cvms
    )


@dataclass(frozen=True, slots=True)
class Total:
    """The rates of many CVMs together, in USD per hour.

    Attributes:
        compute: the sum of the known compute rates.
        storage: the sum of the known storage rates.
        compute_unknown: the number of CVMs without a known compute rate.
        storage_unknown: the number of CVMs without a known storage rate.
    """

    compute: Decimal = Decimal(0)
    storage: Decimal = Decimal(0)
    compute_unknown: int = 0
    storage_unknown: int = 0

    @classmethod
    def sum_rates(cls, rates: Iterable[Rates]) -> "Total":
        """Add up rates."""
        every = list(rates)
        return cls(
            compute=sum((each.compute for each in every if each.compute is not None), Decimal(0)),
            storage=sum((each.storage for each in every if each.storage is not None), Decimal(0)),
            compute_unknown=sum(each.compute is None for each in every),
            storage_unknown=sum(each.storage is None for each in every),
        )

    def document(self) -> dict[str, str | int | None]:
        """Return the form of JSON documents: null for a partly unknown sum, with the known part beside it."""
        return {
            "compute_usd_per_hour": None if self.compute_unknown else format_amount(self.compute),
            "storage_usd_per_hour": None if self.storage_unknown else format_amount(self.storage),
            "known_compute_usd_per_hour": format_amount(self.compute),
            "known_storage_usd_per_hour": format_amount(self.storage),
            "compute_unknown": self.compute_unknown,
            "storage_unknown": self.storage_unknown,
        }


def format_amount(amount: Decimal) -> str:
    """Format a decimal without exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


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


@value_class(frozen=True, slots=True)
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
    codes = (*every, action.spec.gpu_note) if cvm.gpus else every
    if cvm.gpu_rental and not action.leaves_running:
        codes += ("gpu_rental",)
    if cvm.billing_period in NOT_HOURLY:
        codes += ("not_billed_hourly",)
    elif rates.compute is None:
        codes += ("compute_rate_unknown",)
    return BillingNote(rates, codes, triggers_billing(action, codes))
