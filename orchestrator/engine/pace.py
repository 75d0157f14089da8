"""How long to wait between two rounds of status reads. Pure.

Polling starts quickly and backs off while nothing changes, in proportion to how long the oldest CVM has been waited
for. Once CVMs settle, their pace says how long the rest will take, and a round comes after about a sixth of that: few
reads while much is left, quick ones near the end. While stops are still to be sent, reads take a small share of the
rate.
"""

_SHARE_WHILE_SENDING = 0.05
_GROWTH = 1.5
_SHARE_OF_THE_WAIT = 0.16


class Pace:
    """The wait between rounds.

    Attributes:
        shortest: seconds; no two rounds are closer.
        longest: seconds; no two rounds are further apart.
        rate: requests per second of the whole run.
    """

    def __init__(self, shortest: float, longest: float, rate: float) -> None:
        self.shortest = shortest
        self.longest = max(longest, shortest)
        self.rate = rate
        self._quiet = 2 * shortest
        self._speed = 0.0

    def finished_round(self, *, settled: int, seconds: float) -> None:
        """Take a round into account that found so many CVMs settled, so long after the one before."""
        speed = settled / max(seconds, self.shortest)
        self._speed = (self._speed + speed) / 2 if self._speed else speed
        self._quiet = 2 * self.shortest if settled else self._quiet * _GROWTH

    def wait(self, *, watched: int, unsent: int, oldest: float) -> float:
        """Seconds from one round to the next.

        Args:
            watched: CVMs on their way down.
            unsent: CVMs whose stop is still to be sent.
            oldest: seconds for which the longest-waiting of the watched ones has been waited for.
        """
        if self._quiet > 2 * self.shortest or not self._speed:
            wait = min(self._quiet, max(2 * self.shortest, oldest * _SHARE_OF_THE_WAIT))
        else:
            rest = _SHARE_OF_THE_WAIT * max(watched / self._speed, unsent / self.rate)
            wait = min(rest, max(2 * self.shortest, oldest / 4))
        if unsent:
            wait = max(wait, 1 / (_SHARE_WHILE_SENDING * self.rate))
        return min(max(wait, self.shortest), self.longest)
