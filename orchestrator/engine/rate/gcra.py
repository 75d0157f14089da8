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
    """Rate limit in memory, exact over every time window; a `Budget`.

    Attributes:
        burst: the most requests at once after a pause.
        cap: present upper limit of the rate, in requests per second.
        arrival: theoretical arrival time of the next evenly spaced request.
        paused_until: end of the last pause; minus infinity without a pause.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self.burst = burst
        self.cap = float("inf")
        self.arrival = float("-inf")
        self.paused_until = float("-inf")

    def __repr__(self) -> str:
        return f"<Gcra {self.rate}/s burst={self.burst} arrival={self.arrival:.3f} paused={self.paused_until:.3f}>"

    @property
    def rate(self) -> float:
        """Requests per second, at most `cap`."""
        return min(self._rate, self.cap)

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate

    def wait_seconds(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less if a request may go now."""
        earliest = self.arrival - (self.burst - 1) / self.rate
        return max(earliest, self.paused_until) - now

    def take_turn(self, now: float) -> float:
        """Count a request sent now and return 0; if no request may go, return the seconds until a request may go."""
        wait = self.wait_seconds(now)
        if wait > 0:
            return wait
        self.count_request(now)
        return 0.0

    def count_request(self, now: float) -> None:
        """Count a request sent now."""
        self.arrival = max(self.arrival, now) + 1 / self.rate

    def pause(self, seconds: float, now: float) -> None:
        """Hold all requests for some seconds; a longer pause stays."""
        self.paused_until = max(self.paused_until, now + seconds)

    def paused_for(self, now: float) -> float:
        """Remaining seconds of the pause; 0 without a pause."""
        return max(0.0, self.paused_until - now)

    def is_shared(self, now: float) -> bool:  # noqa: ARG002 - the protocol
        """Return False: a budget in memory belongs to a single run."""
        return False
