"""Hourly rates of a CVM, with their source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.cvm import Cvm

STORAGE_USD_PER_GB_HOUR = Decimal("0.000139")
"""The vendor's published storage price, for running and stopped CVMs alike."""

NOT_HOURLY = frozenset({"monthly", "skip"})
"""Billing periods in which a CVM is not charged by the hour."""

HOURS_PER_MONTH = 730
"""365 days of 24 hours, by 12 months."""


@dataclass(frozen=True, slots=True)
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
