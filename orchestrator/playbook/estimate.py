"""How many requests a plan takes, and how long sending them. Pure."""

from dataclasses import dataclass
from math import ceil

from orchestrator.playbook.planned import MOST_AT_ONCE, RunLimits


@dataclass(frozen=True, slots=True)
class Estimate:
    """What carrying the plan out will take, beyond reading the inventory.

    Attributes:
        requests: one a target (fewer where stops go in batches), and about how many status batches.
        seconds: how long sending them takes at the run's rate; settling comes on top.
    """

    requests: int
    seconds: float


def estimate(targets: int, limits: RunLimits, batch_size: int, *, stops: int | None = None) -> Estimate:
    """Requests and seconds for this many targets: each polled twice or so, and swept once at the end, by batch.

    Args:
        targets: how many there are.
        limits: how fast, and whether stops go in batches.
        batch_size: how many statuses one request reads.
        stops: how many of the targets are to be stopped; all by default.
    """
    stops = targets if stops is None else stops
    in_batches = stops if limits.dispatch == "batch" else 0
    requests = targets - in_batches + ceil(in_batches / MOST_AT_ONCE) + 3 * ceil(targets / batch_size)
    return Estimate(requests, max(0.0, requests - limits.burst) / limits.requests_per_second)
