"""What a run saw of the API's rate limit, and which limits would explain it. Pure.

The API is taken for a token bucket of unknown rate and unknown size. For any rate that one supposes, the answers tell
how much of the bucket was in use at each moment: a request that was let through takes a token, time gives them back.
If the supposed rate is the true one, as much was in use at every refusal (all of it), and never more in between. Too
low a rate finds more in use at each refusal than at the one before, too high a rate less: so two refusals after
stretches of different pace are enough to know the limit within a few per cent, however large the bucket is.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

_FIRST_SPAN = 0.02
_MOST_GROUPS = 100
_STRETCHES = 4
_STEP = 1.025
_LITTLE = 4.0
"""Requests that a bucket holds of which nothing is known."""
_LOWEST = 1 / 40
"""No limit below this share of the rate that was refused is looked at."""


@dataclass(slots=True)
class _Group:
    """Requests that were let through evenly from one moment to another."""

    first: float
    last: float
    count: int = 1


@dataclass(slots=True)
class _Stretch:
    """What was let through between two refusals. The longer it is, the coarser it is remembered."""

    groups: list[_Group] = field(default_factory=list)
    span: float = _FIRST_SPAN
    ended: float | None = None

    def passed(self, now: float) -> None:
        if self.groups and now - self.groups[-1].first < self.span:
            self.groups[-1].last = now
            self.groups[-1].count += 1
            return
        if len(self.groups) >= _MOST_GROUPS:
            self._coarsen()
        self.groups.append(_Group(now, now))

    def _coarsen(self) -> None:
        self.span *= 2
        kept = self.groups[:1]
        for group in self.groups[1:]:
            if group.last - kept[-1].first < self.span:
                kept[-1].last, kept[-1].count = group.last, kept[-1].count + group.count
            else:
                kept.append(group)
        self.groups = kept


class LimitEstimate(NamedTuple):
    """The limits that explain what was seen.

    Attributes:
        least: requests per second; the lowest of them.
        most: the highest of them.
        size: how large the bucket is with the best of them.
        misfit: by how many requests even the best of them is wrong.
    """

    least: float
    most: float
    size: float
    misfit: float

    @property
    def contradicts(self) -> bool:
        """Whether nothing explains it: the limit changed meanwhile, or is of another kind."""
        return self.misfit > 3 * _tolerance(self.most)


class BucketEstimator:
    """The last few stretches between refusals.

    Attributes:
        since_refusal: requests that were let through since the last refusal.
        size: how many requests the bucket holds, as far as is known.
    """

    def __init__(self, now: float) -> None:
        self.since_refusal = 0
        self._began = now
        self._used = 0.0
        self.size = _LITTLE
        self._stretches = [_Stretch()]

    def passed(self, now: float) -> None:
        """Count a request that was not refused."""
        self.since_refusal += 1
        self._stretches[-1].passed(now)

    def refused(self, now: float) -> None:
        """A request was refused: the bucket is empty."""
        self.since_refusal = 0
        self._stretches[-1].ended = now
        self._stretches.append(_Stretch())
        if len(self._stretches) > _STRETCHES + 1:
            self._forget(1)

    def explain(self, rate: float) -> LimitEstimate:
        """Which limits explain the refusals, the last of which came at this rate.

        Where nothing does, all but the last stretch is forgotten, and what is left is explained.
        """
        found = self._explain(rate)
        if found.contradicts and len(self._stretches) > 2:  # noqa: PLR2004 - the last finished one, and the new one
            self._forget(len(self._stretches) - 2)
            left = self._explain(rate)
            return left._replace(misfit=found.misfit)
        self.size = found.size
        return found

    def assume(self, rate: float, size: int, least: float) -> float:
        """The limit, if the only refusal came at this rate and the bucket has this size; not below `least`."""
        self.size = size
        limit = rate
        while limit > least and self._weigh(limit)[1] < size:
            limit /= _STEP
        return max(limit, least)

    def mean(self, now: float) -> float:
        """Requests per second that were let through in all the time that is remembered."""
        count = sum(group.count for stretch in self._stretches for group in stretch.groups)
        return count / max(now - self._began, 1.0)

    def _explain(self, rate: float) -> LimitEstimate:
        weighed = []
        limit = rate * 1.01
        while limit > rate * _LOWEST:
            weighed.append((*self._weigh(limit), limit))
            limit /= _STEP
        misfit, size, best = min(weighed)
        fits = [limit for wrong, _, limit in weighed if wrong <= misfit + _tolerance(best)]
        return LimitEstimate(min(fits), max(fits), size, misfit)

    def _weigh(self, limit: float) -> tuple[float, float]:
        """By how many requests this limit is wrong, and how large the bucket would be."""
        used, at = self._used, self._began
        fullest, least, most = 0.0, float("inf"), 0.0
        if self._used:
            least = most = self._used
        for stretch in self._stretches:
            for group in stretch.groups:
                used = max(0.0, used - limit * (group.first - at)) + 1
                fullest = max(fullest, used)
                used = max(1.0, used + group.count - 1 - limit * (group.last - group.first))
                fullest = max(fullest, used)
                at = group.last
            if stretch.ended is not None:
                used = max(0.0, used - limit * (stretch.ended - at))
                at = stretch.ended
                least, most = min(least, used), max(most, used)
        return max(most, fullest - 1) - least, least

    def _forget(self, stretches: int) -> None:
        """Forget the oldest; what is left begins with an empty bucket."""
        ended = self._stretches[stretches - 1].ended
        self._began = self._began if ended is None else ended
        self._used = self.size
        del self._stretches[:stretches]


def _tolerance(limit: float) -> float:
    """Requests; what the network does to the spacing."""
    return 1.0 + 0.02 * limit
