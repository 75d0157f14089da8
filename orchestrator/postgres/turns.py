"""Turns of a shared rate budget, taken in slices from a database. Arithmetic alone: time is an argument.

The database numbers the requests of a workspace: turn after turn, `1 / rate` apart. A process takes a slice of turns,
and uses every turn at its time or at most `(burst - 1) / rate` later. So at most `burst + rate * W` requests of all
processes go in any window of W seconds.

The times of turns are of the database's clock. A question and its answer bound the difference of the clocks.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil

LONGEST_ROUND = 0.25
"""Seconds of turns that all processes together hold. A pause reaches another process with its next slice."""
_LEAST_TURNS = 4
"""Turns that all processes together may hold at any rate, so that not every request needs a question."""
_STEP = 0.02
"""Seconds of turns by which slices grow. Equal steps up and halves down lead to equal shares."""
_LEAD, _LONGEST_LEAD = 0.05, 1.0
"""Seconds from the question for the next slice to the last turn held, beside the time of the last answers."""
_IN_ROW = 4
"""Longest distance of two requests in a row, in times of an answer of the database."""
_AHEAD, _LONGEST_AHEAD = 0.005, 0.2
"""Seconds from the answer to the end of the first turn after an idle time, beside the time of the last answers."""
_DRIFT = 5e-4
"""Seconds that the clock of the database may gain or lose in a second: the most that NTP does."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Bounds of the database's time minus the local time, in seconds.

    Attributes:
        low: the lowest possible difference.
        high: the highest possible difference.
        at: local time of the last observation.
    """

    low: float
    high: float
    at: float

    @property
    def middle(self) -> float:
        """The likeliest difference."""
        return (self.low + self.high) / 2

    @property
    def error(self) -> float:
        """The largest possible error of `middle`."""
        return (self.high - self.low) / 2


def observe_offset(known: Offset | None, asked: float, answered: float, database_time: float) -> Offset:
    """Narrow the bounds by a question and its answer.

    Args:
        known: earlier bounds; None without an earlier observation.
        asked: local time before the question.
        answered: local time after the answer.
        database_time: the database's time between these two moments.
    """
    low, high = database_time - answered, database_time - asked
    if known is not None:
        drift = _DRIFT * max(0.0, answered - known.at)
        if max(low, known.low - drift) <= min(high, known.high + drift):
            low, high = max(low, known.low - drift), min(high, known.high + drift)
        # Otherwise a clock was set: the earlier bounds hold no longer.
    return Offset(low, high, answered)


@dataclass(frozen=True, slots=True)
class Slice:
    """Turns taken from the budget of a workspace.

    Attributes:
        first: time of the first turn on the database's clock; the other turns follow at distances of `1 / rate`.
        turns: number of turns.
        rate: requests per second of the workspace.
        burst: the most requests at once.
    """

    first: float
    turns: int
    rate: float
    burst: int

    @property
    def end(self) -> float:
        """Time of the first turn after the slice."""
        return self.first + self.turns / self.rate

    @property
    def tolerance(self) -> float:
        """The longest delay of a turn."""
        return (self.burst - 1) / self.rate

    def without_first(self, turns: int) -> "Slice":
        """Return the slice without its first turns."""
        return Slice(self.first + turns / self.rate, self.turns - turns, self.rate, self.burst)


class TurnQueue:
    """The turns that a process holds, and the size of the next slice.

    A process with requests in a row takes larger slices, and the next slice ahead of time. Unused turns, and the turns
    of other processes, make slices smaller. Without other processes, unused turns cost nothing.

    Attributes:
        paused_until: local time of the end of a pause.
    """

    def __init__(self) -> None:
        self.paused_until = float("-inf")
        self._slices: deque[Slice] = deque()
        self._offset: Offset | None = None
        self._size = 1
        self._is_wanted = self._is_asked = False
        self._used = self._expired = 0
        self._used_at = float("-inf")
        self._is_busy = False  # requests came in a row
        self._has_waited = False  # requests waited in a row
        self._others_seconds = 0.0
        self._answer_seconds = self._asked_ahead = 0.0
        self._end = float("-inf")
        self._period = 0.0

    def __repr__(self) -> str:
        return f"<TurnQueue held={sum(each.turns for each in self._slices)} size={self._size}>"

    @property
    def ahead(self) -> float:
        """Seconds from a question to the end of the first turn, at least; an earlier turn would come too late."""
        return min(_AHEAD + 2 * self._answer_seconds, _LONGEST_AHEAD)

    def take_turn(self, now: float) -> float | None:
        """Use a turn and return 0. Otherwise return the seconds until the next turn held; None without a turn."""
        if now < self.paused_until:
            self._note_wait(now)
            return self.paused_until - now
        wait = self._drop_expired(now)
        if wait is None or wait > 0:
            self._note_wait(now, is_empty=wait is None)
            return wait
        self._slices[0] = self._slices[0].without_first(1)
        if self._is_in_row(now):
            self._is_busy = True
            self._is_wanted = self._is_wanted or not self._is_asked
        self._used += 1
        self._used_at = now
        return 0.0

    def wait_seconds(self, now: float) -> float:
        """Estimate the seconds until the next request may go; 0 without knowledge."""
        pause = max(0.0, self.paused_until - now)
        held = self._drop_expired(now)
        if held is not None:
            return max(pause, held)
        return max(pause, self._local(self._end) - now) if self._offset is not None else pause

    def fetch_delay(self, now: float) -> float | None:
        """Seconds until the question for the next slice is due; None while no request waits."""
        if not self._is_wanted:
            return None
        lead = min(_LEAD + 2 * self._answer_seconds, _LONGEST_LEAD)
        last = max(self.paused_until, self._last_turn(now))
        return max(0.0, last - lead - now)

    def begin_fetch(self) -> int:
        """Return the size of the slice to ask for, in turns."""
        is_unused = 4 * self._expired >= max(1, self._used + self._expired)
        longest = max(LONGEST_ROUND, _LEAST_TURNS * self._period)
        is_alone = self._is_busy and self._others_seconds < self._period / 2
        if (is_unused and not is_alone) or self._others_seconds + self._size * self._period > longest:
            self._size = max(1, self._size // 2)
        elif (self._has_waited or is_alone) and self._period:
            self._size += max(1, int(_STEP / self._period))
        self._is_asked, self._is_wanted, self._is_busy, self._has_waited = True, False, False, False
        self._used = self._expired = 0
        self._asked_ahead = self.ahead
        return self._size

    def add_slice(self, taken: Slice, pause: float, asked: float, answered: float, database_time: float) -> None:
        """Add the answer to a question.

        Args:
            taken: the slice.
            pause: remaining seconds of the workspace's pause.
            asked: local time before the question.
            answered: local time after the answer.
            database_time: time of the answer on the database's clock.
        """
        self._offset = observe_offset(self._offset, asked, answered, database_time)
        self._answer_seconds = max(answered - asked, 0.8 * self._answer_seconds)
        if pause > 0:
            self.paused_until = max(self.paused_until, self._local(database_time) + pause)
        self._period = 1 / taken.rate
        own_end, self._end = self._end, taken.end
        # Without turns of other processes, the slice begins after the own turns, or anew after an idle time or a pause.
        anew = database_time + max(self._asked_ahead, pause) - taken.tolerance
        self._others_seconds = max(0.0, taken.first - max(own_end, anew))
        self._slices.append(taken)
        self._is_asked = False

    def fail_fetch(self) -> None:
        """Note a question without an answer; the next question is due at once."""
        self._is_asked, self._is_wanted = False, True

    def _note_wait(self, now: float, *, is_empty: bool = False) -> None:
        """Note a waiting request. A request without a turn, or right behind another request, wants another slice."""
        if self._is_in_row(now):
            self._is_busy = self._has_waited = True
            self._is_wanted = self._is_wanted or not self._is_asked
        if is_empty and not self._is_asked:
            self._is_wanted = True

    def _is_in_row(self, now: float) -> bool:
        """Whether the request before was a moment ago: a wait for the database would be felt."""
        return now - self._used_at <= max(self._period, _IN_ROW * self._answer_seconds)

    def _drop_expired(self, now: float) -> float | None:
        """Drop turns past their time; return the seconds to the next turn, 0 or less for now; None without a turn."""
        while self._slices:
            first = self._slices[0]
            error = self._usable_error(first)
            late = now - (self._local(first.first) + first.tolerance - error)
            expired = min(first.turns, ceil(late * first.rate)) if late > 0 else 0
            self._expired += expired
            if expired == first.turns:
                self._slices.popleft()
                continue
            self._slices[0] = first = first.without_first(expired)
            return self._local(first.first) + error - now
        return None

    def _last_turn(self, now: float) -> float:
        return self._local(self._slices[-1].end - 1 / self._slices[-1].rate) if self._slices else now

    def _local(self, database_time: float) -> float:
        assert self._offset is not None  # noqa: S101 - known from the first slice on
        return database_time - self._offset.middle

    def _usable_error(self, taken: Slice) -> float:
        """The error of the clocks, kept off both ends of a turn's time; at most half of the time in all."""
        assert self._offset is not None  # noqa: S101 - as above
        return min(self._offset.error, taken.tolerance / 4)
