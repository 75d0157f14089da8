"""Decide between success, retry and drop after an attempt to deliver a notice. Pure.

| answer | decision |
|---|---|
| 2xx | accepted |
| no connection, timeout, 408, 425, 429, 5xx | retry with doubling waits, not before `Retry-After` |
| any other, redirects included | drop: another attempt would give the same answer |
"""

from dataclasses import dataclass

BACKOFF_CAP = 60.0
"""Seconds. The longest wait without a `Retry-After`."""

_TAKEN = range(200, 300)
_SERVER_ERROR = range(500, 600)
_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of a delivery attempt.

    Attributes:
        status: the HTTP status; None without an answer.
        retry_after: seconds of the answer's `Retry-After`; None without one.
        problem: the reason for a failure, without any part of the URL; empty after success.
    """

    status: int | None
    retry_after: float | None = None
    problem: str = ""

    @property
    def is_accepted(self) -> bool:
        """Return True if the channel accepted the notice."""
        return self.status in _TAKEN

    @property
    def is_retryable(self) -> bool:
        """Return True if a later attempt may succeed."""
        return self.status is None or self.status in _LATER or self.status in _SERVER_ERROR


def retry_delay(answer: DeliveryResult, attempt: int, jitter: float) -> float | None:
    """Compute the seconds until the next attempt; None for no attempt.

    Args:
        answer: to the last attempt.
        attempt: which one that was, from 1.
        jitter: a random number from 0 to 1, to spread what would come back at the same moment.
    """
    if answer.is_accepted or not answer.is_retryable:
        return None
    backoff = min(BACKOFF_CAP, 2.0 ** min(attempt - 1, 10)) * (0.75 + jitter / 2)
    return max((answer.retry_after or 0.0) * (1 + jitter / 10), backoff)
