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

from orchestrator.engine.rate.estimate import BucketEstimator, LimitEstimate
from orchestrator.reply import Reply

START = 5.0
"""Requests per second at the start of a run, if the API's limit is unknown."""

_LOOKING, _SEEKING, _FASTER, _TRYING = 1.0, 0.05, 0.1, 0.02
"""Growth of the rate by one answer, in requests per second; equals the share by which the rate grows in a second."""
_CAREFUL = 5.0
"""Below this rate answers are rare, and one answer raises the rate by less."""
_CLOSE, _PASSED, _FAR = 0.95, 1.25, 2.0
"""Multiples of the known limit: below the limit, clearly above, far above."""
_MARGIN = 0.97
_FIRST_GUESS, _LARGEST_FALL = 10, 0.65
"""Assumed bucket size at the first 429, in requests; and the smallest share of the rate left after the first 429."""
_KNOWN_WITHIN, _AGREED_WITHIN, _AGREES = 1.1, 1.25, 0.05
"""The limit is known if the possible limits lie this close together, or twice in about the same place."""
_SHORTEST_HOLD, _LONGEST_HOLD, _COSTLIEST_HOLD = 1.0, 60.0, 300.0
_ANSWERS_TO_HOLD = 10, 100
"""Fewest answers in a hold: for an uncertain limit, and for a known limit."""
_HOLD_PER_PAUSE = 40
_LONGEST_SLOW_HOLD = 20.0
_HOLD_WHEN_KNOWN = 20.0
_QUICK, _QUICK_IN_A_ROW, _QUICK_FALL = 3.0, 2, 0.75
_FLOOR_OF_MEAN = 0.4
_NEW_BY = 0.15
_LOWEST = 0.5
"""Requests per second; the pauses requested by 429s enforce a lower limit."""
_SHORTEST_LOOK = 0.25
_PROVEN = 5.0
"""Seconds at a rate after which a refusal counts as an accident: delayed requests arrived all at once."""
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
        self._most_at_once = self._at_once = burst
        self._known = known
        self._limit: float | None = None
        self._sure = False
        self._hold = _SHORTEST_HOLD
        self._hold_until = now
        if known is not None:
            self.rate = _MARGIN * known.requests_per_second
            if known.is_limit:
                self._limit, self._sure = known.requests_per_second, True
                self._hold_until = now + _HOLD_WHEN_KNOWN
        self._estimator = BucketEstimator(now)
        self._recent: deque[float] = deque()
        self._best = 0.0
        self._refused_at = float("-inf")
        self._back_since: float | None = now
        self._quick = self._unsure = 0
        self._accidents = 0
        self._late = 0.0
        self._last_at = now

    def __repr__(self) -> str:
        return f"<AdaptiveRate {self.rate:.3g}/s burst={self.burst} limit={self._limit} sure={self._sure}>"

    @property
    def send_rate(self) -> float:
        """Requests per second to send: a little more than the rate after late requests."""
        return self.rate * _CATCHING_UP if self._limit is not None and self._late > 1 else self.rate

    @property
    def burst(self) -> int:
        """The most requests at once: few if the API accepts few, but enough for a clock with late wake-ups."""
        return min(self._most_at_once, max(self._at_once, ceil(self.rate / 100)))

    @property
    def known_rate(self) -> KnownRate:
        """Known rate for the start of a later run."""
        took = min(self.rate, self._best)
        if self._limit is not None:
            return KnownRate(max(self._limit, took), is_limit=self._sure)
        return KnownRate(max(took, self._known.requests_per_second if self._known else 0.0), is_limit=False)

    def on_reply(self, reply: Reply[object], now: float) -> None:
        """Update the rate by the reply to any request of the run."""
        if reply.http_status == _TOO_MANY:
            # Replies to requests sent before the last fall of the rate say nothing about the new rate.
            if now - reply.latency >= self._refused_at:
                self._lower_rate(now, reply.retry_after or 1.0)
        elif reply.http_status is not None:
            self._raise_rate(now)

    def _raise_rate(self, now: float) -> None:
        self._estimator.count_accepted(now)
        if self._back_since is None:
            self._back_since = self._last_at = now
            self._late = 0.0
        # The API's bucket fills up while requests go late, so a part of the missed requests can be sent later.
        late = self._late + self.rate * (now - self._last_at) - 1
        self._late = min(max(0.0, late), self._estimator.size / 2)
        self._last_at = now
        window = max(1.0, 4 / self.rate)
        self._recent.append(now)
        while now - self._recent[0] > window:
            self._recent.popleft()
        self._best = max(self._best, len(self._recent) / window)
        looked = min(window, max(now - self._back_since, _SHORTEST_LOOK))
        if self.rate < 2 * len(self._recent) / looked:  # otherwise something else than the rate holds requests back
            self.rate += self._growth_at(now) * min(1.0, self.rate / _CAREFUL)

    def _growth_at(self, now: float) -> float:
        if self._limit is None:
            return _LOOKING
        if now < self._hold_until:
            return 0.0
        share = self.rate / self._limit
        if share < _CLOSE or (share < _PASSED and not self._sure):
            return _SEEKING
        return _TRYING if share < _PASSED else _FASTER if share < _FAR else _LOOKING

    def _lower_rate(self, now: float, pause: float) -> None:
        before, first = self.rate, self._refused_at == float("-inf")
        at_once = self._estimator.since_refusal < self.burst
        lasted = 0.0 if self._back_since is None else now - self._back_since
        self._quick = self._quick + 1 if self._back_since is not None and lasted < _QUICK else 0
        accident = self._sure and lasted > _PROVEN and not self._accidents and now < self._hold_until
        self._accidents = int(accident)
        self._back_since = None
        self._estimator.count_refused(now)
        if at_once and self._at_once > 1:
            self._at_once = max(1, self._at_once // 2)
            if self._limit is None:
                self._refused_at = now
                return  # so few requests at once were too many: no information about the rate yet
        self._refused_at = now
        if accident and self._limit is not None:
            self.rate = _MARGIN * self._limit
        elif first or self._limit is None:
            self._guess_limit(before)
        else:
            self._learn_limit(self._estimator.estimate_limits(before), self._limit, before, now)
        hold = max(self._hold, min(_LONGEST_SLOW_HOLD, _ANSWERS_TO_HOLD[0] / self.rate))
        if self._sure:
            hold = max(hold, min(_COSTLIEST_HOLD, max(_HOLD_PER_PAUSE * pause, _ANSWERS_TO_HOLD[1] / self.rate)))
        self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self._hold_until = now + hold

    def _guess_limit(self, before: float) -> None:
        """Guess the limit at the first refusal: the size of the API's bucket is unknown."""
        guess = self._estimator.assume_size(before, _FIRST_GUESS, _LARGEST_FALL * before)
        if self._limit is not None and self._limit <= before <= _PASSED * self._limit:
            guess = self._limit  # the limit found by the earlier run
        else:
            self._sure = False
        self._limit = guess
        self.rate = max(_LOWEST, _MARGIN * guess)

    def _learn_limit(self, found: LimitEstimate, believed: float, before: float, now: float) -> None:
        if found.is_contradicted:
            self._hold, self._sure = _SHORTEST_HOLD, False
        share = 1 / (3 + 3 * self._unsure)  # more 429s without a known limit: a more careful guess
        limit = found.least ** (1 - share) * found.most**share
        limit = max(limit, min(found.most, before / 2))
        self._at_once = max(1, min(self._most_at_once, int(found.size / 2)))
        if self._sure and before > 0.98 * believed:
            limit = min(max(believed, found.least), found.most)  # keep a proved limit as long as the evidence allows
        else:
            agrees = abs(limit / believed - 1) < _AGREES
            self._sure = found.most < (_AGREED_WITHIN if agrees else _KNOWN_WITHIN) * found.least
        self._unsure = 0 if self._sure else self._unsure + 1
        self._limit = min(limit, before)
        self.rate = _MARGIN * self._limit
        if self._quick >= _QUICK_IN_A_ROW:
            self._limit, self.rate = min(self._limit, 0.8 * before), min(self.rate, _QUICK_FALL * before)
            self._hold, self._sure = _SHORTEST_HOLD, False
        floor = max(_LOWEST, _FLOOR_OF_MEAN * self._estimator.mean_rate(now))
        if self.rate < floor:
            self._limit, self.rate, self._sure = floor, floor, False
        if abs(self._limit / believed - 1) > _NEW_BY:
            self._hold = _SHORTEST_HOLD
