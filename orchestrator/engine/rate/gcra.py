"""The arithmetic of the rate limit: GCRA, the generic cell rate algorithm. Time is an argument.

In any window of W seconds at most `burst + rate * W` requests may go: a token bucket of size `burst` that holds one
number instead of a level and a time, the *theoretical arrival time* of the next request if all came evenly.
"""


def with_headroom(burst: int) -> int:
    """The part of a burst that is used; the rest is kept for what the network does to the spacing.

    A server that allows the very same rate and burst counts requests when they arrive. The first of them take longer
    (they open connections), so those behind them close up, and with the whole burst spent the server would see one too
    many. Half of the burst in reserve absorbs a delay of `burst / (2 * rate)` seconds.
    """
    return (burst + 1) // 2


class Gcra:
    """A rate limit that is exact over every window.

    Attributes:
        burst: how many may go at once after a pause.
        cap: requests per second that are not exceeded for now, whatever the rate is.
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
        """Requests per second."""
        return min(self._rate, self.cap)

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate

    def wait(self, now: float) -> float:
        """Seconds until the next request may go; 0 or less when it may go now."""
        earliest = self._arrival - (self.burst - 1) / self.rate
        return max(earliest, self._paused_until) - now

    def take(self, now: float) -> None:
        """Count one request that goes now."""
        self._arrival = max(self._arrival, now) + 1 / self.rate

    def pause(self, until: float) -> None:
        """Let nothing go before this time, whoever asks."""
        self._paused_until = max(self._paused_until, until)

    @property
    def paused_until(self) -> float:
        """The end of the pause, if there is one."""
        return self._paused_until
