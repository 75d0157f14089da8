"""How many requests a plan takes, and how long sending them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, RunLimits


@dataclass(frozen=True, slots=True)
class Estimate:
    """What carrying the plan out will take, beyond reading the inventory.

    Attributes:
        requests: one a target (fewer where stops go in batches), and about how many status batches.
        seconds: how long sending them takes at the run's rate, with the soak of waves; settling comes on top.
    """

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lot:
    """The targets of one step, as far as its requests go.

    Attributes:
        targets: how many there are.
        limits: those of the step: how fast, and whether stops go in batches.
        stops: whether they are to be stopped.
        soak: seconds of soak between its waves, all together.
    """

    targets: int
    limits: RunLimits
    stops: bool = True
    soak: float = 0.0

    @property
    def requests(self) -> int:
        """How many requests act on them."""
        in_batches = self.stops and self.limits.dispatch == "batch"
        return ceil(self.targets / MOST_AT_ONCE) if in_batches else self.targets


def estimate_plan(lots: Iterable[Lot], burst: int, batch_size: int) -> Estimate:
    """Requests and seconds for these targets: each polled twice or so, and swept once at the end, by batch.

    Args:
        lots: the targets, step by step.
        burst: how many requests go at once after a pause.
        batch_size: how many statuses one request reads.
    """
    lots = list(lots)
    reads = 3 * ceil(sum(lot.targets for lot in lots) / batch_size)
    seconds, at_once = 0.0, burst
    for number, lot in enumerate(lots, start=1):
        requests = lot.requests + (reads if number == len(lots) else 0)
        seconds += lot.soak + max(0, requests - at_once) / lot.limits.requests_per_second
        at_once = max(0, at_once - requests)
    return Estimate(sum(lot.requests for lot in lots) + reads, seconds)
