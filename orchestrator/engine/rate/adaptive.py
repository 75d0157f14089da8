"""Adaptive rate: learn the API's unpublished rate limit from its 429 replies. Pure.

The rate changes in three ways. Only answers other than 429 raise the rate, so an unused rate does not grow:

- **Looking for the limit**: the rate doubles in 0.7 seconds, until the first 429.
- **Holding**: the rate stays a little below the limit that explains the 429s so far (see `estimate`). The hold is
  longer for a well-proved limit and for costly 429s.
- **Trying**: the rate grows by two per cent a second, and faster once the rate is clearly above the known limit: the
  API has raised its limit.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from orchestrator.engine.rate.estimate import BucketEstimator, LimitEstimate
from orchestrator.reply import Reply

START = 5.0
"""Requests per second at the start of a run, if the API's limit is unknown."""

# Growth of the rate by one answer, in requests per second. So 0.02 lets the rate grow by two per cent a second.
_GROWTH_WITHOUT_LIMIT = 1.0
_GROWTH_BELOW_LIMIT = 0.05
_GROWTH_AT_LIMIT = 0.02
_GROWTH_ABOVE_LIMIT = 0.1
_SLOW_RATE = 5.0
"""Below this rate answers are rare, and one answer raises the rate by less."""

# Multiples of the limit: clearly below, clearly above, far above.
_BELOW, _ABOVE, _FAR_ABOVE = 0.95, 1.25, 2.0
_STILL_AT_LIMIT = 0.98
"""A 429 at or above this multiple of a known limit does not contradict the limit."""
_MARGIN = 0.97
"""The rate after a 429, as a share of the limit."""

_ASSUMED_BUCKET = 10
"""Assumed size of the API's bucket at the first 429, in requests."""
_LEAST_SHARE_LEFT = 0.65
"""Smallest share of the rate left after the first 429."""

# The limit is known if the possible limits lie close together; less close if the last limit is confirmed.
_CLOSE_TOGETHER, _CLOSE_IF_CONFIRMED, _CONFIRMED_WITHIN = 1.1, 1.25, 0.05

# Holds, in seconds. A hold has a least number of answers, and takes longer after a 429 with a long pause.
_SHORTEST_HOLD, _LONGEST_HOLD, _COSTLIEST_HOLD = 1.0, 60.0, 300.0
_HOLD_OF_KNOWN_RUN = 20.0
_LONGEST_SLOW_HOLD = 20.0
_HOLD_PER_PAUSE = 40
_ANSWERS_TO_HOLD, _ANSWERS_TO_HOLD_IF_KNOWN = 10, 100

# A 429 soon after the first answers since the last 429 is quick. Several quick 429s in a row lower the rate further.
_QUICK_AFTER, _QUICK_REFUSALS = 3.0, 2
_LIMIT_AFTER_QUICK, _RATE_AFTER_QUICK = 0.8, 0.75

_PROVEN_AFTER = 5.0
"""Seconds at a rate; a later 429 counts as an accident: delayed requests arrived all at once."""
_LEAST_SHARE_OF_MEAN = 0.4
"""The rate never falls below this share of the mean rate so far."""
_NEW_LIMIT_BEYOND = 0.15
"""Relative change of the limit; a larger change starts again with the shortest hold."""
_LOWEST = 0.5
"""Requests per second; the pauses requested by 429s enforce a lower limit."""
_SHORTEST_WINDOW = 0.25
_CATCHING_UP = 1.05
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class KnownRate:
    """Known facts about the API's rate limit.

    Attributes:
        requests_per_second: a rate accepted by the API.
        is_limit: whether the API is known to refuse a higher rate; False if unknown.
    """

    requests_per_second: float
    is_limit: bool


class Limit(NamedTuple):
    """Estimate of the API's limit.

    Attributes:
        rate: requests per second.
        is_known: whether the 429s so far agree on the limit.
    """

    rate: float
    is_known: bool


class AdaptiveRate:
    """Finds the request rate accepted by the API.

    Attributes:
        rate: estimate of the accepted requests per second.
        send_rate: requests per second to send: a little more than the rate after late requests.
        burst: how many requests may go at once.
    """

    def __init__(self, burst: int, *, now: float, known: KnownRate | None = None) -> None:
        """Start with a known rate, or with `START`.

        Args:
            burst: the most requests at once.
            now: time in seconds, by the same clock as in `on_reply`.
            known: the result of an earlier run; None if there is no result.
        """
        self.rate = START
        self._known = known
        self._estimator = BucketEstimator(now)
        self._limit: Limit | None = None  # None before the first 429
        self._max_burst = burst
        self._accepted_burst = burst  # lower after 429s to requests at once

        self._next_hold = _SHORTEST_HOLD  # seconds; longer after every 429
        self._hold_until = now
        if known is not None:
            self.rate = _MARGIN * known.requests_per_second
            if known.is_limit:
                self._limit = Limit(known.requests_per_second, is_known=True)
                self._hold_until = now + _HOLD_OF_KNOWN_RUN

        self._recent_answers: deque[float] = deque()  # times of the answers within the last second or so
        self._last_answer_at = now
        self._best_rate = 0.0  # the highest measured rate of answers
        self._missed_requests = 0.0  # requests below the rate so far, because requests went late

        self._refused_at = float("-inf")  # time of the last counted 429
        self._accepting_since: float | None = now  # the first answer after the last 429; None before that answer
        self._quick_refusals = 0  # 429s in a row, each soon after the first answer
        self._vague_refusals = 0  # 429s in a row without a known limit
        self._was_accident = False  # whether the last 429 counted as an accident

    def __repr__(self) -> str:
        return f"<AdaptiveRate {self.rate:.3g}/s burst={self.burst} limit={self._limit}>"

    @property
    def send_rate(self) -> float:
        """Requests per second to send: a little more than the rate after late requests."""
        return self.rate * _CATCHING_UP if self._limit is not None and self._missed_requests > 1 else self.rate

    @property
    def burst(self) -> int:
        """The most requests at once: few if the API accepts few, but enough for a clock with late wake-ups."""
        return min(self._max_burst, max(self._accepted_burst, ceil(self.rate / 100)))

    @property
    def known_rate(self) -> KnownRate:
        """Known rate for the start of a later run."""
        accepted = min(self.rate, self._best_rate)
        if self._limit is not None:
            return KnownRate(max(self._limit.rate, accepted), is_limit=self._limit.is_known)
        return KnownRate(max(accepted, self._known.requests_per_second if self._known else 0.0), is_limit=False)

    def on_reply(self, reply: Reply[object], now: float) -> None:
        """Update the rate by the reply to any request of the run."""
        if reply.http_status == _TOO_MANY:
            # Replies to requests sent before the last fall of the rate say nothing about the new rate.
            if now - reply.latency >= self._refused_at:
                self._lower_rate(now, reply.retry_after or 1.0)
        elif reply.http_status is not None:
            self._raise_rate(now)

    def _raise_rate(self, now: float) -> None:
        """Raise the rate a little after an answer other than 429."""
        self._estimator.count_accepted(now)
        if self._accepting_since is None:
            self._accepting_since = self._last_answer_at = now
            self._missed_requests = 0.0
        # The API's bucket fills up while requests go late, so a part of the missed requests can be sent later.
        missed = self._missed_requests + self.rate * (now - self._last_answer_at) - 1
        self._missed_requests = min(max(0.0, missed), self._estimator.size / 2)
        self._last_answer_at = now
        window = max(1.0, 4 / self.rate)
        self._recent_answers.append(now)
        while now - self._recent_answers[0] > window:
            self._recent_answers.popleft()
        self._best_rate = max(self._best_rate, len(self._recent_answers) / window)
        measured = min(window, max(now - self._accepting_since, _SHORTEST_WINDOW))
        # With far fewer answers than the rate allows, something else holds requests back: the rate stays.
        if self.rate < 2 * len(self._recent_answers) / measured:
            growth = find_growth(self.rate, self._limit, is_held=now < self._hold_until)
            self.rate += growth * min(1.0, self.rate / _SLOW_RATE)

    def _lower_rate(self, now: float, pause: float) -> None:
        """Lower the rate after a 429, and hold the lower rate for a time.

        Args:
            now: the time of the 429.
            pause: the seconds that the API asks to wait.
        """
        before, is_first = self.rate, self._refused_at == float("-inf")
        came_at_once = self._estimator.since_refusal < self.burst
        is_accident = self._classify_refusal(now)
        self._accepting_since = None
        self._estimator.count_refused(now)
        self._refused_at = now
        if came_at_once and self._accepted_burst > 1:
            self._accepted_burst = max(1, self._accepted_burst // 2)
            if self._limit is None:
                return  # so few requests at once were too many: no information about the rate yet
        if is_accident and self._limit is not None:
            limit, rate = self._limit, _MARGIN * self._limit.rate
        elif is_first or self._limit is None:
            limit, rate = self._guess_limit(before)
        else:
            limit, rate = self._learn_limit(self._limit, before, now)
        self._limit, self.rate = limit, rate
        self._hold_until = now + find_hold(self._next_hold, rate, limit, pause)
        self._next_hold = min(2 * self._next_hold, _LONGEST_HOLD)

    def _classify_refusal(self, now: float) -> bool:
        """Count a quick 429; return True for an accident: a single 429 in the hold of a proved rate."""
        accepted_for = None if self._accepting_since is None else now - self._accepting_since
        is_quick = accepted_for is not None and accepted_for < _QUICK_AFTER
        self._quick_refusals = self._quick_refusals + 1 if is_quick else 0
        is_known = self._limit is not None and self._limit.is_known
        is_proved = is_known and accepted_for is not None and accepted_for > _PROVEN_AFTER
        self._was_accident = is_proved and not self._was_accident and now < self._hold_until
        return self._was_accident

    def _guess_limit(self, before: float) -> tuple[Limit, float]:
        """Guess the limit and the next rate at the first refusal: the size of the API's bucket is unknown."""
        guess = self._estimator.assume_size(before, _ASSUMED_BUCKET, _LEAST_SHARE_LEFT * before)
        limit = self._limit  # found by an earlier run
        if limit is None or not limit.rate <= before <= _ABOVE * limit.rate:
            limit = Limit(guess, is_known=False)
        return limit, max(_LOWEST, _MARGIN * limit.rate)

    def _learn_limit(self, believed: Limit, before: float, now: float) -> tuple[Limit, float]:
        """Estimate the limit again from all 429s, and find the next rate.

        Args:
            believed: the limit so far.
            before: the rate before the 429.
            now: the time of the 429.
        """
        found = self._estimator.estimate_limits(before)
        self._accepted_burst = max(1, min(self._max_burst, int(found.size / 2)))
        limit = choose_limit(found, believed, before, self._vague_refusals)
        self._vague_refusals = 0 if limit.is_known else self._vague_refusals + 1
        rate = _MARGIN * limit.rate
        is_quick = self._quick_refusals >= _QUICK_REFUSALS
        if is_quick:
            limit = Limit(min(limit.rate, _LIMIT_AFTER_QUICK * before), is_known=False)
            rate = min(rate, _RATE_AFTER_QUICK * before)
        floor = max(_LOWEST, _LEAST_SHARE_OF_MEAN * self._estimator.mean_rate(now))
        if rate < floor:
            limit, rate = Limit(floor, is_known=False), floor
        is_new = abs(limit.rate / believed.rate - 1) > _NEW_LIMIT_BEYOND
        if found.is_contradicted or is_quick or is_new:
            self._next_hold = _SHORTEST_HOLD
        return limit, rate


def find_growth(rate: float, limit: Limit | None, *, is_held: bool) -> float:
    """Find the growth of the rate by one answer, in requests per second.

    Args:
        rate: the rate so far.
        limit: the estimate of the API's limit; None before the first 429.
        is_held: whether the rate is held after a 429.
    """
    if limit is None:
        return _GROWTH_WITHOUT_LIMIT
    if is_held:
        return 0.0
    share = rate / limit.rate
    if share < _BELOW or (share < _ABOVE and not limit.is_known):
        return _GROWTH_BELOW_LIMIT
    if share < _ABOVE:
        return _GROWTH_AT_LIMIT
    return _GROWTH_ABOVE_LIMIT if share < _FAR_ABOVE else _GROWTH_WITHOUT_LIMIT


def find_hold(shortest: float, rate: float, limit: Limit, pause: float) -> float:
    """Find the length of a hold after a 429, in seconds.

    Args:
        shortest: the least seconds.
        rate: the held rate.
        limit: the estimate of the API's limit.
        pause: the seconds that the API asks to wait.
    """
    hold = max(shortest, min(_LONGEST_SLOW_HOLD, _ANSWERS_TO_HOLD / rate))
    if not limit.is_known:
        return hold
    return max(hold, min(_COSTLIEST_HOLD, max(_HOLD_PER_PAUSE * pause, _ANSWERS_TO_HOLD_IF_KNOWN / rate)))


def choose_limit(found: LimitEstimate, believed: Limit, before: float, vague_refusals: int) -> Limit:
    """Choose one of the possible limits.

    Args:
        found: the limits consistent with the replies.
        believed: the limit so far.
        before: the rate before the last 429; the limit is never higher.
        vague_refusals: the 429s in a row without a known limit; more of them make a more careful guess.
    """
    if believed.is_known and not found.is_contradicted and before > _STILL_AT_LIMIT * believed.rate:
        # Keep a proved limit as long as the evidence allows.
        return Limit(min(max(believed.rate, found.least), found.most, before), is_known=True)
    share = 1 / (3 + 3 * vague_refusals)
    limit = max(found.least ** (1 - share) * found.most**share, min(found.most, before / 2))
    is_confirmed = abs(limit / believed.rate - 1) < _CONFIRMED_WITHIN
    is_known = found.most < (_CLOSE_IF_CONFIRMED if is_confirmed else _CLOSE_TOGETHER) * found.least
    return Limit(min(limit, before), is_known=is_known)
