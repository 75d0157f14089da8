"""The arithmetic of the benchmark: pure, from lists of numbers and from a server's record of requests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

WARM_UP_SECONDS = 10.0
"""Time for a run to find the rate, before its use of the server's limit counts."""

_LEAST_WINDOW_SECONDS = 3.0
_STOPS = frozenset({"stop_cvm", "batch_stop"})
_TOO_MANY_REQUESTS = 429
_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, minimum and maximum of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Observation:
    """One request as seen by the server.

    Attributes:
        at: time of the request, in seconds of the server's clock.
        status: the HTTP status of the answer.
        stop: True for an effective stop, single or batch.
        cvm: the hashid of the CVM; None for a batch, or without a CVM.
    """

    at: float
    status: int
    stop: bool = False
    cvm: str | None = None


def seen_from(record: Iterable[Mapping[str, Any]]) -> list[Observation]:
    """The requests in the simulator's own record."""
    return [
        Observation(each["at"], each["status"], each["operation"] in _STOPS and each["effect"], each["cvm_hashid"])
        for each in record
    ]


def span_seconds(seen: Sequence[Observation]) -> float:
    """Seconds from the first request to the last."""
    return seen[-1].at - seen[0].at


def until_last_stop(seen: Sequence[Observation]) -> list[Observation]:
    """The requests up to and including the last effective stop; empty without a stop."""
    last = max((number for number, each in enumerate(seen) if each.stop), default=-1)
    return list(seen[: last + 1])


def settling_seconds(seen: Sequence[Observation], settle: Mapping[str, float]) -> float:
    """Seconds from the last stop until every CVM is down.

    Args:
        seen: the requests.
        settle: seconds that each CVM takes to settle, by its hashid.
    """
    stops = [each for each in seen if each.stop]
    down = max(each.at + settle.get(each.cvm or "", 0.0) for each in stops)
    return max(0.0, down - stops[-1].at)


def bound_seconds(requests: int, requests_per_second: float, settling: float) -> float:
    """The least time for `requests` at a rate, plus the settling of the last CVM."""
    return requests / requests_per_second + settling


def utilisation(
    seen: Sequence[Observation], requests_per_second: float, *, warm_up: float = WARM_UP_SECONDS
) -> float | None:
    """Compute the used share of the server's limit, from `warm_up` seconds after the first request to the last stop.

    Throttled requests (429) do not count as use. None for a window too short to measure.
    """
    sending = until_last_stop(seen)
    if not sending:
        return None
    begin, end = seen[0].at + warm_up, sending[-1].at
    if end - begin < _LEAST_WINDOW_SECONDS:
        return None
    answered = sum(begin < each.at <= end and each.status != _TOO_MANY_REQUESTS for each in sending)
    return answered / (end - begin) / requests_per_second


def fewest_requests(cvms: int) -> int:
    """The fewest requests for single stops: the pages of the list, and the stops."""
    return -(-cvms // _PAGE_SIZE) + cvms


def throttled(seen: Sequence[Observation]) -> int:
    """Count the 429 answers."""
    return sum(each.status == _TOO_MANY_REQUESTS for each in seen)


def best(rows: Mapping[int, Sequence[float]]) -> int:
    """The width with the highest median."""
    return max(rows, key=lambda width: median(rows[width]))
