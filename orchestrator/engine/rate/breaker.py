"""Circuit breaker: when the API is down, stop all requests, send probes, and continue once the API answers.

A single fault may concern one request. Many faults in a row, over all requests of the run, mean an outage of the API.
A fault is a request without an answer, a 5xx without a Retry-After time, or a 404 with a gateway's page. Any other
answer in between starts the count again.
"""

from dataclasses import dataclass
from typing import Protocol

import anyio

from orchestrator.engine.event import AutoResetEvent
from orchestrator.engine.protocols import Clock
from orchestrator.engine.rate.gate import Gate, Priority
from orchestrator.reply import Reply

FAULTS_IN_A_ROW = 10
"""Faults in a row that open the breaker."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
"""Seconds between two probes: doubled after every probe, up to the longest wait."""

_NOT_FOUND, _SERVER_ERROR = 404, 500


def is_fault(reply: Reply[object]) -> bool:
    """Whether a reply counts as a sign of an outage."""
    # A wait of 0 names no time. A request without a permit never met the API.
    if reply.value is not None or reply.retry_after or not reply.permitted:
        return False
    status = reply.http_status
    return status is None or status >= _SERVER_ERROR or (status == _NOT_FOUND and not reply.is_json)


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of the API. Times are seconds of the engine's clock.

    Attributes:
        reason: the problem of the last request.
        next_probe: time of the next probe.
        gives_up_at: time when the run ends, if the API does not answer before.
    """

    reason: str
    next_probe: float
    gives_up_at: float


class BreakerObserver(Protocol):
    """Sender of probes, and receiver of the breaker's changes."""

    async def send_probe(self) -> Reply[object]:
        """Send a cheap request without an effect, past the breaker's own count."""
        ...

    def on_outage_change(self, outage: Outage | None) -> None:
        """React to the beginning of an outage; None when the API answers again."""
        ...

    def on_give_up(self) -> None:
        """React to an outage longer than `give_up_after`."""
        ...


class Breaker:
    """Circuit breaker: closes the gate while the API is down.

    Attributes:
        opened_at: time of opening in seconds of the engine's clock; None while the breaker is closed.
    """

    def __init__(self, gate: Gate, clock: Clock, observer: BreakerObserver, *, give_up_after: float) -> None:
        """Set up.

        Args:
            gate: the gate to close.
            clock: the engine's clock.
            observer: sends the probes; receives the beginning and the end of an outage.
            give_up_after: the longest outage in seconds; the run ends after a longer outage.
        """
        self.opened_at: float | None = None
        self._gate, self._clock, self._observer = gate, clock, observer
        self._give_up_after = give_up_after
        self._reason, self._next_probe = "", 0.0
        self._row = 0
        self._wakeup = AutoResetEvent()

    @property
    def outage(self) -> Outage | None:
        """Present outage; None while the breaker is closed."""
        if self.opened_at is None:
            return None
        return Outage(self._reason, self._next_probe, self.opened_at + self._give_up_after)

    def on_reply(self, reply: Reply[object]) -> None:
        """Count the reply to any request of the run; open the breaker after too many faults in a row."""
        self._row = self._row + 1 if is_fault(reply) else 0
        if self._row:
            self._reason = reply.problem or "no answer"
        if self._row >= FAULTS_IN_A_ROW and self.opened_at is None:
            self.opened_at = self._clock.now()
            self._next_probe = self.opened_at + FIRST_WAIT
            self._gate.close()
            self._wakeup.set()
            self._observer.on_outage_change(self.outage)

    async def run(self) -> None:
        """Send probes while the breaker is open; run until cancelled, or until the breaker gives up."""
        while True:
            await self._wakeup.wait()
            if self.opened_at is not None and not await self._wait_for_answer(self.opened_at):
                self._observer.on_give_up()
                self._gate.open()  # a request that still waits can go and fail; no request waits for ever
                return

    async def _wait_for_answer(self, opened_at: float) -> bool:
        """Send probes until the API answers; return False after too long an outage."""
        wait = FIRST_WAIT
        while self._clock.now() - opened_at < self._give_up_after:
            self._next_probe = self._clock.now() + wait
            await anyio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            async with self._gate.turn(Priority.PROBE):
                reply = await self._observer.send_probe()
            if not is_fault(reply):
                self._row, self.opened_at = 0, None
                self._gate.open()
                self._observer.on_outage_change(None)
                return True
            self._reason = reply.problem or "no answer"
        return False
