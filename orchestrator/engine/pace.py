"""How long to wait between two rounds of status reads. Pure.

Polling starts quickly and backs off while nothing changes, in proportion to how long the oldest CVM has been waited
for. Once CVMs settle, their pace says how long the rest will take, and a round comes after about a third of that: few
reads while much is left, quick ones near the end. While stops are still to be sent, the end is far and reads take the
rate away from them, so they are fewer still. Once all are sent, what the CVMs took so far says when the last of them
will be down, and a read falls on that moment.
"""

from orchestrator.engine.gcra import Gcra

_SHARE_WHILE_SENDING = 0.02
_GROWTH = 1.5
_SHARE_OF_THE_REST = 0.3
_OF_THE_AGE_WHILE_SENDING, _OF_THE_AGE = 0.5, 0.16
_OF_THE_SENDING = 0.15


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

    def wait(self, *, watched: int, unsent: int, oldest: float, youngest: float) -> float:
        """Seconds from one round to the next.

        Args:
            watched: CVMs on their way down.
            unsent: CVMs whose stop is still to be sent.
            oldest: seconds for which the longest-waiting of the watched ones has been waited for.
            youngest: the same for the one that was stopped last.
        """
        left = self._took + self.shortest / 2 - youngest
        if not unsent and left > 0:
            wait = self._towards(left)
        elif self._quiet > 2 * self.shortest or not self._speed:
            share = _OF_THE_AGE_WHILE_SENDING if unsent else _OF_THE_AGE
            wait = min(self._quiet, max(2 * self.shortest, oldest * share))
        else:
            to_send = unsent / self.limit.rate
            rest = _SHARE_OF_THE_REST * max(watched / self._speed, to_send)
            wait = min(rest, max(2 * self.shortest, oldest / 2, _OF_THE_SENDING * to_send))
        if unsent:
            wait = max(wait, 1 / (_SHARE_WHILE_SENDING * self.limit.rate))
        return min(max(wait, self.shortest), self.longest)

    def _towards(self, left: float) -> float:
        """A part of the time that is left, or all of it where the remainder would be too short for a round."""
        part = max(_SHARE_OF_THE_REST * left, self.shortest)
        return part if left - part >= self.shortest else left
