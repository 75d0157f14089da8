"""A circuit breaker: when the API as a whole is down, stop asking, probe now and then, and go on once it answers.

A single fault says something about one request; a row of them, whoever asked, says something about the API. Only a row
without one answer in between counts: no answer at all, a 5xx that names no time to come back, or a 404 that is a
gateway's page.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.protocols import Clock
from orchestrator.engine.rate.gate import Gate, Lane
from orchestrator.reply import Reply

FAULTS_IN_A_ROW = 10
"""So many requests without an answer, one after the other, open the breaker."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
"""Seconds from one probe to the next: doubling from the first to the longest."""

_NOT_FOUND, _SERVER_ERROR = 404, 500


def is_fault(reply: Reply[object]) -> bool:
    """Whether a reply speaks for the API being down."""
    if reply.value is not None or reply.retry_after:  # a wait of 0 names no time
        return False
    status = reply.http_status
    return status is None or status >= _SERVER_ERROR or (status == _NOT_FOUND and not reply.is_json)


@dataclass(frozen=True, slots=True)
class Outage:
    """The API as a whole is down. Moments are seconds of the engine's clock.

    Attributes:
        reason: what the last request came to.
        next_probe: when the API is asked again.
        gives_up_at: when the run ends if the API does not answer by then.
    """

    reason: str
    next_probe: float
    gives_up_at: float


class Breaker:
    """Closes the gate while the API is down.

    Attributes:
        opened_at: since when it is open, in seconds of the engine's clock; None while it is closed.
    """

    def __init__(
        self,
        gate: Gate,
        clock: Clock,
        probe: Callable[[], Awaitable[Reply[object]]],
        *,
        give_up_after: float,
        gave_up: Callable[[], None],
        changed: Callable[[Outage | None], None] = lambda _outage: None,
    ) -> None:
        """Set up.

        Args:
            gate: what it closes.
            clock: what it measures by.
            probe: a cheap request that changes nothing.
            give_up_after: seconds of being open after which the run is ended.
            gave_up: called then.
            changed: called with the outage when one begins, and with None when the API answers again.
        """
        self.opened_at: float | None = None
        self._gate, self._clock, self._probe = gate, clock, probe
        self._give_up_after, self._gave_up, self._changed = give_up_after, gave_up, changed
        self._reason, self._next_probe = "", 0.0
        self._row = 0
        self._given_up = False
        self._bell = AutoResetEvent()

    @property
    def outage(self) -> Outage | None:
        """What is known of the outage while the breaker is open."""
        if self.opened_at is None:
            return None
        return Outage(self._reason, self._next_probe, self.opened_at + self._give_up_after)

    def heard(self, reply: Reply[object]) -> None:
        """Take the answer to any request of the run into account."""
        self._row = self._row + 1 if is_fault(reply) else 0
        if self._row:
            self._reason = reply.problem or "no answer"
        if self._row >= FAULTS_IN_A_ROW and self.opened_at is None and not self._given_up:
            self.opened_at = self._clock.now()
            self._next_probe = self.opened_at + FIRST_WAIT
            self._gate.close()
            self._bell.ring()
            self._changed(self.outage)

    async def run(self) -> None:
        """Probe while open; until cancelled."""
        while True:
            await self._bell.wait()
            if self.opened_at is not None and not await self._recover(self.opened_at):
                self._given_up = True
                self._gave_up()
                self._gate.open()  # so that a request which still waits gets its refusal, and nothing waits for ever
                return

    async def _recover(self, opened_at: float) -> bool:
        """Probe until the API answers; False when it did not for too long."""
        wait = FIRST_WAIT
        while self._clock.now() - opened_at < self._give_up_after:
            self._next_probe = self._clock.now() + wait
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            async with self._gate.turn(Lane.PROBE):
                reply = await self._probe()
            if not is_fault(reply):
                self._row, self.opened_at = 0, None
                self._gate.open()
                self._changed(None)
                return True
            self._reason = reply.problem or "no answer"
        return False
