"""Estimate of the API's rate limit from accepted and refused requests. Pure.

The model of the API is a token bucket of unknown rate and unknown size. For an assumed rate, the replies give the
number of used tokens at every moment: an accepted request takes a token, and time gives tokens back. With the true
rate, the same number of tokens (the whole bucket) is in use at every refusal, and never more in between. With too low
a rate, the number grows from refusal to refusal; with too high a rate, the number falls. So two refusals after
stretches of different request rates give the limit within a few per cent, for a bucket of any size.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

_FIRST_SPAN = 0.02
_MOST_GROUPS = 100
_STRETCHES = 4
_STEP = 1.025
_LITTLE = 4.0
"""Assumed size of an unknown bucket, in requests."""
_LOWEST = 1 / 40
"""Lowest limit to consider, as a share of the refused rate."""


@dataclass(slots=True)
class _Group:
    """Requests accepted evenly between two moments."""

    first: float
    last: float
    count: int = 1


@dataclass(slots=True)
class _Stretch:
    """Requests accepted between two refusals; a longer stretch is stored in coarser groups."""

    groups: list[_Group] = field(default_factory=list)
    span: float = _FIRST_SPAN
    ended: float | None = None

    def count_accepted(self, now: float) -> None:
        if self.groups and now - self.groups[-1].first < self.span:
            self.groups[-1].last = now
            self.groups[-1].count += 1
            return
        if len(self.groups) >= _MOST_GROUPS:
            self._merge_groups()
        self.groups.append(_Group(now, now))

    def _merge_groups(self) -> None:
        self.span *= 2
        kept = self.groups[:1]
        for group in self.groups[1:]:
            if group.last - kept[-1].first < self.span:
                kept[-1].last, kept[-1].count = group.last, kept[-1].count + group.count
            else:
                kept.append(group)
        self.groups = kept


class LimitEstimate(NamedTuple):
    """Range of limits consistent with the replies.

    Attributes:
        least: the lowest limit, in requests per second.
        most: the highest limit, in requests per second.
        size: the bucket size for the best limit, in requests.
        misfit: the error of the best limit, in requests.
    """

    least: float
    most: float
    size: float
    misfit: float

    @property
    def is_contradicted(self) -> bool:
        """Whether no limit explains the replies: the limit changed meanwhile, or is of another kind."""
        return self.misfit > 3 * _tolerance_of(self.most)


class BucketEstimator:
    """Estimates the limit from the last few stretches between refusals.

    Attributes:
        since_refusal: requests accepted since the last refusal.
        size: estimate of the bucket size, in requests.
    """

    def __init__(self, now: float) -> None:
        self.since_refusal = 0
        self._began = now
        self._used = 0.0
        self.size = _LITTLE
        self._stretches = [_Stretch()]

    def count_accepted(self, now: float) -> None:
        """Count an accepted request."""
        self.since_refusal += 1
        self._stretches[-1].count_accepted(now)

    def count_refused(self, now: float) -> None:
        """Count a refused request: the bucket is empty."""
        self.since_refusal = 0
        self._stretches[-1].ended = now
        self._stretches.append(_Stretch())
        if len(self._stretches) > _STRETCHES + 1:
            self._forget_stretches(1)

    def estimate_limits(self, rate: float) -> LimitEstimate:
        """Estimate the limits consistent with the refusals; the last refusal came at this rate.

        If no limit is consistent, forget all stretches but the last, and estimate the limits from the last stretch.
        """
        found = self._fit_limits(rate)
        if found.is_contradicted and len(self._stretches) > 2:  # noqa: PLR2004 - the last finished stretch, and the new stretch
            self._forget_stretches(len(self._stretches) - 2)
            left = self._fit_limits(rate)
            return left._replace(misfit=found.misfit)
        self.size = found.size
        return found

    def assume_size(self, rate: float, size: int, least: float) -> float:
        """Estimate the limit from a single refusal at this rate, for a bucket of this size; not below `least`."""
        self.size = size
        limit = rate
        while limit > least and self._weigh_limit(limit)[1] < size:
            limit /= _STEP
        return max(limit, least)

    def mean_rate(self, now: float) -> float:
        """Mean of accepted requests per second over all stored stretches."""
        count = sum(group.count for stretch in self._stretches for group in stretch.groups)
        return count / max(now - self._began, 1.0)

    def _fit_limits(self, rate: float) -> LimitEstimate:
        weighed = []
        limit = rate * 1.01
        while limit > rate * _LOWEST:
            weighed.append((*self._weigh_limit(limit), limit))
            limit /= _STEP
        misfit, size, best = min(weighed)
        fits = [limit for wrong, _, limit in weighed if wrong <= misfit + _tolerance_of(best)]
        return LimitEstimate(min(fits), max(fits), size, misfit)

    def _weigh_limit(self, limit: float) -> tuple[float, float]:
        """Error of a limit in requests, and the bucket size for this limit."""
        used, at = self._used, self._began
        fullest, least, most = 0.0, float("inf"), 0.0
        if self._used:
            least = most = self._used
        for stretch in self._stretches:
            for group in stretch.groups:  # compared without `max`, which would take half of the time
                used -= limit * (group.first - at)
                used = used + 1 if used > 0 else 1.0
                if used > fullest:  # noqa: PLR1730
                    fullest = used
                used += group.count - 1 - limit * (group.last - group.first)
                if used < 1:
                    used = 1.0
                if used > fullest:  # noqa: PLR1730
                    fullest = used
                at = group.last
            if stretch.ended is not None:
                used = max(0.0, used - limit * (stretch.ended - at))
                at = stretch.ended
                least, most = min(least, used), max(most, used)
        return max(most, fullest - 1) - least, least

    def _forget_stretches(self, stretches: int) -> None:
        """Forget the oldest stretches; the remaining stretches begin with an empty bucket."""
        ended = self._stretches[stretches - 1].ended
        self._began = self._began if ended is None else ended
        self._used = self.size
        del self._stretches[:stretches]


def _tolerance_of(limit: float) -> float:
    """Tolerated error in requests, for the network's effect on the spacing of requests."""
    return 1.0 + 0.02 * limit
