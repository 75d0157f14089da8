"""Rate limit by GCRA, the generic cell rate algorithm. Time is an argument.

In any window of W seconds at most `burst + rate * W` requests may go, as with a token bucket of size `burst`. GCRA
stores one number instead of a level and a time: the *theoretical arrival time* of the next evenly spaced request.
"""


def with_headroom(burst: int) -> int:
    """Compute the usable half of a burst; the other half is a reserve for network delays.

    A server with the same rate and burst counts requests at their arrival. The first requests take longer, because
    they open connections, and the later requests catch up. With the whole burst spent, the server would then count one
    request too many. Half of the burst in reserve absorbs a delay of `burst / (2 * rate)` seconds.
    """
    return (burst + 1) // 2


class Gcra:
    """Rate limit, exact over every time window.

    Attributes:
        burst: the most requests at once after a pause.
        cap: present upper limit of the rate, in requests per second.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self.burst = burst
        self.cap = float("inf")
        self._arrival = float("-inf")
        self._paused_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Gcra {self.rate}/s burst={self.burst} arrival={self._arrival:.3f} paused={self._paused_until:.3f}>"

    @property
    def rate(self) -> float:
        """Requests per second, at most `cap`."""
        return min(self._rate, self.cap)

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate

    def wait_seconds(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less if a request may go now."""
        earliest = self._arrival - (self.burst - 1) / self.rate
        return max(earliest, self._paused_until) - now

    def count_request(self, now: float) -> None:
        """Count a request sent now."""
        self._arrival = max(self._arrival, now) + 1 / self.rate

    def pause_until(self, until: float) -> None:
        """Hold all requests until this time."""
        self._paused_until = max(self._paused_until, until)

    @property
    def paused_until(self) -> float:
        """End of the last pause; minus infinity without a pause."""
        return self._paused_until
