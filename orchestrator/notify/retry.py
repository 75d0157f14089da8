"""What follows from the answer to a notice: it was taken, it is sent again after a while, or it is given up. Pure.

| answer | what follows |
|---|---|
| 2xx | taken |
| no connection, no answer in time, 408, 425, 429, 5xx | sent again in doubling steps, not before `Retry-After` |
| anything else, redirects included | given up: it would be the same again |
"""

from dataclasses import dataclass

BACKOFF_CAP = 60.0
"""Seconds; the longest wait where the other side names none."""

_TAKEN = range(200, 300)
_SERVER_ERROR = range(500, 600)
_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt to deliver came to.

    Attributes:
        status: the status code; None when there was no answer.
        retry_after: seconds that the other side asks to wait for, if it does.
        problem: what went wrong in words that hold no part of the URL; empty when it was taken.
    """

    status: int | None
    retry_after: float | None = None
    problem: str = ""

    @property
    def taken(self) -> bool:
        """Whether the notice arrived."""
        return self.status in _TAKEN

    @property
    def may_change(self) -> bool:
        """Whether the same notice may be taken later."""
        return self.status is None or self.status in _LATER or self.status in _SERVER_ERROR


def wait_after(answer: Answer, attempt: int, jitter: float) -> float | None:
    """Seconds until a notice is sent again; None when it is not.

    Args:
        answer: to the last attempt.
        attempt: which one that was, from 1.
        jitter: a random number from 0 to 1, to spread what would come back at the same moment.
    """
    if answer.taken or not answer.may_change:
        return None
    backoff = min(BACKOFF_CAP, 2.0 ** min(attempt - 1, 10)) * (0.75 + jitter / 2)
    return max((answer.retry_after or 0.0) * (1 + jitter / 10), backoff)
