"""The targets of a plan by teepod, by name and by app: number of CVMs and cost per hour."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from orchestrator.billing.rates import Total
from orchestrator.cvm import CvmRef
from orchestrator.playbook.plan import Target
from orchestrator.safe_text import safe_text

_PREFIX = re.compile(r"[^-_.]+[-_.]|\D+(?=\d+$)")


@dataclass(frozen=True, slots=True)
class Group:
    """Targets with a common property.

    Attributes:
        name: the common property.
        cvms: the number of CVMs.
        total: the cost of all CVMs of the group per hour.
    """

    name: str
    cvms: int
    total: Total

    @property
    def price(self) -> str:
        """Format the compute in USD per hour, and the number of CVMs with an unknown price."""
        unknown = self.total.compute_unknown
        if unknown == self.cvms:
            return "unknown"
        return f"{self.total.compute:,.4f}" + (f" ({unknown} unknown)" if unknown else "")


def group_targets(targets: Iterable[Target], name: Callable[[CvmRef], str]) -> list[Group]:
    """Group targets by a name, the largest group first."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(name(target.cvm.ref), []).append(target)
    made = [Group(key, len(of), Total.sum_rates(each.rates for each in of)) for key, of in found.items()]
    return sorted(made, key=lambda group: (-group.cvms, -group.total.compute, group.name))


def keep_largest(found: list[Group], most: int) -> list[Group]:
    """Keep the largest groups up to a limit, and merge the smaller groups.

    The merged group is named after their number.
    """
    if len(found) <= most:
        return found
    first, rest = found[: most - 1], found[most - 1 :]
    sums = Total(
        sum((group.total.compute for group in rest), Decimal(0)),
        compute_unknown=sum(group.total.compute_unknown for group in rest),
    )
    return [*first, Group(f"and {len(rest)} more", sum(group.cvms for group in rest), sums)]


def teepod_of(ref: CvmRef) -> str:
    """Return the name of a CVM's teepod, else its number."""
    return safe_text(ref.teepod, 64) if ref.teepod else f"#{ref.teepod_id}" if ref.teepod_id is not None else "unknown"


def app_of(ref: CvmRef) -> str:
    """Return the whole id of a CVM's app."""
    return safe_text(ref.app_id, 64) if ref.app_id else "unknown"


def prefix_of(ref: CvmRef) -> str:
    """Return the pattern of a CVM's name up to its first separator, such as `web-*`; without a separator the name."""
    found = _PREFIX.match(ref.name)
    return safe_text(f"{found[0]}*" if found else ref.name or "(no name)", 40)
