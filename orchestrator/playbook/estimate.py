"""Estimate a plan's requests and sending time. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from orchestrator.playbook.resolved_steps import MOST_AT_ONCE, RunLimits


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of carrying out a plan, without reading the inventory.

    Attributes:
        requests: one request per target (fewer with batches of stops), plus an estimate of the status reads.
        seconds: sending time at the run's rate, with the soak of waves; the time to settle is extra.
    """

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StepLoad:
    """The targets of a step, for the count of requests.

    Attributes:
        targets: the number of targets.
        limits: the limits of the step: rate, and whether stops are sent in batches.
        stops: whether the action is a stop.
        soak: seconds of soak between the step's waves, in total.
    """

    targets: int
    limits: RunLimits
    stops: bool = True
    soak: float = 0.0

    @property
    def requests(self) -> int:
        """The number of action requests."""
        in_batches = self.stops and self.limits.dispatch == "batch"
        return ceil(self.targets / MOST_AT_ONCE) if in_batches else self.targets


def estimate_plan(lots: Iterable[StepLoad], burst: int, batch_size: int) -> Estimate:
    """Estimate requests and seconds, with about two status reads per target and a final read, all in batches.

    Args:
        lots: the load of every step.
        burst: requests sent at once after a pause.
        batch_size: statuses per request.
    """
    lots = list(lots)
    reads = 3 * ceil(sum(lot.targets for lot in lots) / batch_size)
    seconds, at_once = 0.0, burst
    for number, lot in enumerate(lots, start=1):
        requests = lot.requests + (reads if number == len(lots) else 0)
        seconds += lot.soak + max(0, requests - at_once) / lot.limits.requests_per_second
        at_once = max(0, at_once - requests)
    return Estimate(sum(lot.requests for lot in lots) + reads, seconds)
