"""Poll backoff: the wait between two polls of statuses. Pure.

Polling starts quickly. While nothing changes, the wait grows in proportion to the wait of the oldest CVM. Once CVMs
settle, their speed predicts the remaining time, and the next poll comes after about a third of this time: few polls
while many CVMs are left, quick polls near the end. While requests are still to be sent, polls are fewer, because reads
and requests share the rate limit. Once all requests are sent, the settle times so far predict the settling of the last
CVM, and a poll is due at this moment.

Without unsent requests, the rate limit is idle, and a settled CVM is seen soon. The wait is then at most the largest of
1.45 seconds, about a tenth of the time since the last accepted request, and half a second for each request of a poll.
"""

from orchestrator.engine.rate.budget import Budget

_SHARE_WHILE_SENDING, _SHARE_WHILE_MANY = 0.1, 0.06
"""Largest shares of the rate limit for reads while requests are to be sent, and while many are to be sent."""
_MANY_SECONDS = 2.0
"""Seconds for sending the rest; with more, many requests are to be sent."""
_GROWTH = 1.5
_SHARE_OF_THE_REST = 0.3
_OF_THE_AGE_WHILE_SENDING, _OF_THE_AGE = 0.5, 0.16
_OF_THE_SENDING = 0.15
_SOON = 1.45
"""Seconds; the longest wait, unless a value below gives a longer wait."""
_SOON_OF_THE_SENDING, _SOON_OF_THE_OLDEST = 0.18, 0.25
"""While requests are to be sent: shares of the time for sending, and of the oldest CVM's wait."""
_SOON_OF_THE_YOUNGEST, _SOON_FOR_EACH_READ = 0.09, 0.5
"""After all requests are sent: a share of the youngest CVM's wait, and seconds for each request of a poll."""
_LEAST, _LEAST_OF_THE_YOUNGEST = 1.3, 0.25
"""After all requests are sent: the shortest wait, in seconds and as a share of the youngest CVM's wait."""


class PollBackoff:
    """Wait between two polls.

    Attributes:
        shortest: the shortest wait in seconds.
        longest: the longest wait in seconds.
        some_are_down: whether any CVM was seen down yet.
        limit: the present rate limit of the whole run.
    """

    def __init__(self, shortest: float, longest: float, limit: Budget) -> None:
        self.shortest = shortest
        self.longest = max(longest, shortest)
        self.limit = limit
        self._quiet = 2 * shortest
        self._speed = 0.0
        self._took = 0.0
        self.some_are_down = False

    def count_settled(self, still_up: float) -> None:
        """Count a settled CVM, last seen unsettled `still_up` seconds after its request."""
        self.some_are_down = True
        self._took = max(self._took, still_up)

    def count_poll(self, *, settled: int, seconds: float) -> None:
        """Count a finished poll with `settled` CVMs, `seconds` after the previous poll."""
        speed = settled / max(seconds, self.shortest)
        self._speed = (self._speed + speed) / 2 if self._speed else speed
        self._quiet = 2 * self.shortest if settled else self._quiet * _GROWTH

    def wait_seconds(self, *, watched: int, unsent: int, oldest: float, youngest: float, reads: int) -> float:
        """Compute the seconds between two polls.

        Args:
            watched: the number of watched CVMs.
            unsent: the number of CVMs with a request still to be sent.
            oldest: seconds of waiting for the oldest watched CVM.
            youngest: seconds of waiting for the CVM with the latest request.
            reads: the number of requests for reading all watched CVMs.
        """
        left = self._took + self.shortest / 2 - youngest
        least = self.shortest if unsent else max(self.shortest, min(_LEAST, _LEAST_OF_THE_YOUNGEST * youngest))
        to_send = unsent / self.limit.rate
        if not unsent and left > 0:
            # A part of the remaining time, or the whole time if the remainder is too short for a poll.
            part = max(_SHARE_OF_THE_REST * left, least)
            wait = part if left - part >= least else left
        elif self._quiet > 2 * self.shortest or not self._speed:
            share = _OF_THE_AGE_WHILE_SENDING if unsent else _OF_THE_AGE
            wait = min(self._quiet, max(2 * self.shortest, oldest * share))
        else:
            rest = max(least, _SHARE_OF_THE_REST * max(watched / self._speed, to_send))
            wait = min(rest, max(2 * self.shortest, oldest / 2, _OF_THE_SENDING * to_send))
        if unsent:
            wait = min(wait, max(_SOON, _SOON_OF_THE_SENDING * to_send, _SOON_OF_THE_OLDEST * oldest))
            share = _SHARE_WHILE_MANY if to_send > _MANY_SECONDS else _SHARE_WHILE_SENDING
            wait = max(wait, 1 / (share * self.limit.rate))
        else:
            wait = min(wait, max(_SOON, _SOON_OF_THE_YOUNGEST * youngest, _SOON_FOR_EACH_READ * reads))
        return min(max(wait, self.shortest), self.longest)
