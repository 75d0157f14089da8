"""How long to wait between two rounds of status reads. Pure.

Polling starts quickly and backs off while nothing changes, in proportion to how long the oldest CVM has been waited
for. Once CVMs settle, their pace says how long the rest will take, and a round comes after about a third of that: few
reads while much is left, quick ones near the end. While requests are still to be sent, the end is far and reads take
the rate away from them, so reads are fewer still. Once all are sent, what the CVMs took so far says when the last of
them will be down, and a read falls on that moment.

When nothing is left to send, the rate limit is idle, and a CVM is seen soon after it settled: rounds are at most 1.45
seconds apart, or a tenth of the time since the last request was accepted, or half a second for each request of a round.
"""

from orchestrator.engine.rate.gcra import Gcra

_SHARE_WHILE_SENDING = 0.1
"""The largest share of the rate limit that reads take while requests are to be sent."""
_GROWTH = 1.5
_SHARE_OF_THE_REST = 0.3
_OF_THE_AGE_WHILE_SENDING, _OF_THE_AGE = 0.5, 0.16
_OF_THE_SENDING = 0.15
_SOON = 1.45
"""Seconds; the longest wait, unless one of the following is longer."""
_SOON_OF_THE_SENDING, _SOON_OF_THE_OLDEST = 0.18, 0.25
"""While requests are to be sent: shares of the time that sending takes, and of the oldest CVM's wait."""
_SOON_OF_THE_YOUNGEST, _SOON_FOR_EACH_READ = 0.09, 0.5
"""When all are sent: a share of the youngest CVM's wait, and seconds for each request of a round."""
_LEAST, _LEAST_OF_THE_YOUNGEST = 1.3, 0.25
"""When all are sent: the shortest wait while CVMs settle, in seconds and as a share of the youngest CVM's wait."""


class Pace:
    """The wait between rounds.

    Attributes:
        shortest: seconds; no two rounds are closer.
        longest: seconds; no two rounds are further apart.
        some_are_down: whether any CVM was seen down yet.
        limit: the rate limit of the whole run, as it is at the time.
    """

    def __init__(self, shortest: float, longest: float, limit: Gcra) -> None:
        self.shortest = shortest
        self.longest = max(longest, shortest)
        self.limit = limit
        self._quiet = 2 * shortest
        self._speed = 0.0
        self._took = 0.0
        self.some_are_down = False

    def settled(self, still_up: float) -> None:
        """Take a CVM into account that is down now, and was not so many seconds after its stop."""
        self.some_are_down = True
        self._took = max(self._took, still_up)

    def finished_round(self, *, settled: int, seconds: float) -> None:
        """Take a round into account that found so many CVMs settled, so long after the one before."""
        speed = settled / max(seconds, self.shortest)
        self._speed = (self._speed + speed) / 2 if self._speed else speed
        self._quiet = 2 * self.shortest if settled else self._quiet * _GROWTH

    def wait(self, *, watched: int, unsent: int, oldest: float, youngest: float, reads: int = 1) -> float:
        """Seconds from one round to the next.

        Args:
            watched: CVMs on their way down.
            unsent: CVMs whose stop is still to be sent.
            oldest: seconds for which the longest-waiting of the watched ones has been waited for.
            youngest: the same for the one that was stopped last.
            reads: how many requests a round takes that reads all of the watched ones.
        """
        left = self._took + self.shortest / 2 - youngest
        least = self.shortest if unsent else max(self.shortest, min(_LEAST, _LEAST_OF_THE_YOUNGEST * youngest))
        to_send = unsent / self.limit.rate
        if not unsent and left > 0:
            wait = self._towards(left, least)
        elif self._quiet > 2 * self.shortest or not self._speed:
            share = _OF_THE_AGE_WHILE_SENDING if unsent else _OF_THE_AGE
            wait = min(self._quiet, max(2 * self.shortest, oldest * share))
        else:
            rest = max(least, _SHARE_OF_THE_REST * max(watched / self._speed, to_send))
            wait = min(rest, max(2 * self.shortest, oldest / 2, _OF_THE_SENDING * to_send))
        if unsent:
            wait = min(wait, max(_SOON, _SOON_OF_THE_SENDING * to_send, _SOON_OF_THE_OLDEST * oldest))
            wait = max(wait, 1 / (_SHARE_WHILE_SENDING * self.limit.rate))
        else:
            wait = min(wait, max(_SOON, _SOON_OF_THE_YOUNGEST * youngest, _SOON_FOR_EACH_READ * reads))
        return min(max(wait, self.shortest), self.longest)

    @staticmethod
    def _towards(left: float, least: float) -> float:
        """A part of the time that is left, or all of it where the remainder would be too short for a round."""
        part = max(_SHARE_OF_THE_REST * left, least)
        return part if left - part >= least else left
