"""Interface of a rate budget: the share of the API's rate limit for the requests of a run. Time is an argument."""

from typing import Protocol


class Budget(Protocol):
    """Rate budget, in memory or shared with other processes.

    Attributes:
        burst: the most requests at once after a pause.
        cap: present upper limit of the rate, in requests per second.
    """

    burst: int
    cap: float

    @property
    def rate(self) -> float:
        """Requests per second, at most `cap`."""
        ...

    @rate.setter
    def rate(self, rate: float) -> None: ...

    def wait_seconds(self, now: float) -> float:
        """Estimate the seconds until the next request may go; 0 or less for now, never infinite."""
        ...

    def take_turn(self, now: float) -> float:
        """Count a request sent now and return 0; if no request may go, return the seconds until another attempt.

        Check and count are one step: two processes never take the same turn. The seconds are never infinite.
        """
        ...

    def pause(self, seconds: float, now: float) -> None:
        """Hold all requests for some seconds."""
        ...

    def paused_for(self, now: float) -> float:
        """Remaining seconds of a pause; 0 without a pause."""
        ...

    def is_shared(self, now: float) -> bool:
        """Whether another run uses the same budget at present."""
        ...
