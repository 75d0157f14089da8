"""The server's own rate limit: a token bucket."""

from math import ceil

from orchestrator.simulator.settings import LimitSettings


class TokenBucket:
    """Allows `requests_per_second` on average and `burst` at once; without a rate, every request."""

    def __init__(self, settings: LimitSettings) -> None:
        self._rate = settings.requests_per_second
        self._burst = float(settings.burst)
        self._tokens = self._burst
        self._at = 0.0  # time of the last refill

    def __repr__(self) -> str:
        return f"<Limit {self._rate}/s, {self._tokens:.2f} of {self._burst:g} left at {self._at:g}>"

    def take_token(self, now: float) -> float:
        """Take a token and return 0; without a token, return the seconds until the next token."""
        if self._rate is None:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


def whole_seconds(wait: float) -> int:
    """Round a wait up to the whole seconds of `Retry-After`, at least 1."""
    return max(1, ceil(wait))
