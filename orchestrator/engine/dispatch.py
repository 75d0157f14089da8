"""Sending: each request announced on disk first, then let through the gate, then answered for.

Announcing runs a little ahead of sending (a twentieth of a second's worth of requests), so that a shared fsync never
costs the rate anything, and no more than that little is on record when a run is told to stop.
"""

from collections.abc import Callable
from math import ceil
from random import Random

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream

from orchestrator.engine.bell import Bell
from orchestrator.engine.decide import PATIENCE_ATTEMPTS, Decision, Kind, decide
from orchestrator.engine.gate import Gate, Lane
from orchestrator.engine.ledger import Ledger
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.queue import StopQueue
from orchestrator.engine.work import Work
from orchestrator.outcome import Outcome
from orchestrator.reply import Reply, StatusRead

_INSTANT = 0.001
"""Seconds; waiting for less is not worth it, and may be too little for the clock to move."""
_AHEAD = 0.05
"""Seconds of sending for which requests are announced ahead."""


class Dispatcher:
    """Sends the stops of one step.

    Attributes:
        unsent: targets whose stop is neither known to be accepted nor given up.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        gate: Gate,
        ledger: Ledger,
        clock: Clock,
        rng: Random,
        per_teepod: int,
        max_in_flight: int,
        patience: float,
        watch: Callable[[Work, bool], None],
        failed: Callable[[], None],
        key_refused: Callable[[], None],
        heard: Callable[[Reply[object]], None],
    ) -> None:
        """Set up.

        Args:
            cloud: where requests go.
            gate: what every request passes.
            ledger: what is written down.
            clock: what is measured by.
            rng: the jitter.
            per_teepod: requests under way on one teepod.
            max_in_flight: requests under way at all, beyond which none is announced ahead.
            patience: seconds after which a target that is deferred again and again is given up.
            watch: called with a target that was accepted (True) or whose outcome is unknown (False).
            failed: called after a target ended otherwise than wanted.
            key_refused: called when the API refuses the key.
            heard: called with every answer.
        """
        self.unsent = 0
        self._cloud, self._gate, self._ledger, self._clock, self._rng = cloud, gate, ledger, clock, rng
        self._queue = StopQueue(per_teepod)
        self._patience = patience
        self._watch, self._failed, self._key_refused, self._heard = watch, failed, key_refused, heard
        self._ahead = max(1, min(max_in_flight, ceil(gate.gcra.rate * _AHEAD)))
        self._bell = Bell()
        self._announced = 0
        self._halted = False
        self._turn: anyio.CancelScope | None = None

    def add(self, work: Work) -> None:
        """Take on a target whose stop is to be sent."""
        self.unsent += 1
        self._queue.push(work)

    def expect(self) -> None:
        """Take on a target that was sent earlier with unknown outcome, and is watched already."""
        self.unsent += 1

    def resolved(self, work: Work, *, again: bool) -> None:
        """Hear about a target of unknown outcome: it is to be sent again, or is off this desk."""
        if not again:
            self.unsent -= 1
        elif not self._given_up(work, "the API's answers never told whether the stop had an effect, and it had none"):
            self._queue.push(work)
        self._bell.ring()

    def halt(self) -> None:
        """Send nothing more but what is on record already and due at once; what was sent is answered for."""
        self._halted = True
        self._bell.ring()
        if self._turn is not None:
            self._turn.deadline = self._last_call()

    def _last_call(self) -> float:
        return self._clock.now() + 2 * _AHEAD

    async def run(self) -> None:
        """Send until nothing is left to send, or until halted.

        Raises:
            AuditError: when the trail can't be written; nothing is sent then.
        """
        announced, to_send = anyio.create_memory_object_stream[Work](2 * self._ahead)
        async with anyio.create_task_group() as group:
            group.start_soon(self._announce, announced)
            async with to_send:
                await self._send_announced(to_send, group)

    async def _announce(self, announced: ObjectSendStream[Work]) -> None:
        async with announced:
            while self.unsent and not self._halted:
                if self._announced >= self._ahead:
                    await self._bell.wait()
                    continue
                near = self._gate.gcra.wait(self._clock.now()) - _AHEAD
                if near > _INSTANT and not self._announced:
                    await self._bell.wait(near)  # nothing is due yet, and might be told not to be sent before it is
                    continue
                batch = self._next_batch()
                if not batch:
                    await self._bell.wait(self._queue.next_due() - self._clock.now())
                    continue
                self._announced += len(batch)
                for work in batch:
                    self._ledger.intent(work)
                await self._ledger.flush()
                for work in batch:
                    await announced.send(work)

    def _next_batch(self) -> list[Work]:
        batch: list[Work] = []
        while self._announced + len(batch) < self._ahead and (work := self._queue.pop(self._clock.now())) is not None:
            batch.append(work)
        return batch

    async def _send_announced(self, to_send: ObjectReceiveStream[Work], group: anyio.abc.TaskGroup) -> None:
        async for work in to_send:
            entered = False
            with anyio.CancelScope(deadline=self._last_call() if self._halted else float("inf")) as self._turn:
                await self._gate.enter(Lane.ACT)
                entered = True
            self._turn = None
            self._announced -= 1
            self._bell.ring()
            if entered:
                group.start_soon(self._send, work)
                continue
            self._ledger.not_sent(work, "the run was told to stop before this request was sent")
            self._queue.done(work)
        await self._ledger.flush()

    async def _send(self, work: Work) -> None:
        try:
            reply = await self._cloud.stop(work.ref)
        except anyio.get_cancelled_exc_class():
            self._ledger.cut_off(work)
            raise
        finally:
            self._gate.leave()
            self._queue.done(work)
        self._heard(reply)
        self._follow(work, reply, decide(reply, work.attempts, self._rng.random()))
        self._bell.ring()
        await self._ledger.flush()

    def _follow(self, work: Work, reply: Reply[StatusRead], decision: Decision) -> None:
        """Write down what an answer means, and do what follows from it."""
        if decision.kind is Kind.ACCEPTED:
            self._ledger.accepted(work, reply)
            self.unsent -= 1
            self._watch(work, True)  # noqa: FBT003 - the callback's one flag
        elif decision.kind is Kind.UNKNOWN:
            self._ledger.answered("action.unknown", work, reply)
            self._watch(work, False)  # noqa: FBT003 - the callback's one flag
        elif decision.kind is Kind.DEFERRED:
            self._defer(work, reply, decision)
        elif decision.kind is Kind.KEY_REFUSED:
            self._ledger.answered("action.failed", work, reply)
            self._key_refused()
        else:
            event, outcome = _FINAL[decision.kind]
            self._ledger.answered(event, work, reply)
            self._end(work, outcome, decision.reason, reply)

    def _defer(self, work: Work, reply: Reply[StatusRead], decision: Decision) -> None:
        wait = round(decision.wait, 3)
        self._ledger.answered("action.deferred", work, reply, retry_after_s=wait, verify=decision.verify)
        if decision.whole_run:
            self._gate.pause(decision.wait)
        if decision.verify:
            self._watch(work, False)  # noqa: FBT003 - the callback's one flag
        elif not self._given_up(work, decision.reason, reply):
            self._queue.defer(work, self._clock.now() + decision.wait)

    def _given_up(self, work: Work, reason: str, reply: Reply[StatusRead] | None = None) -> bool:
        """End a target whose stop would not go through for too long."""
        now = self._clock.now()
        waited = now - (now if work.first_sent is None else work.first_sent)
        if waited <= self._patience or work.attempts < PATIENCE_ATTEMPTS:
            return False
        self._end(work, Outcome.FAILED, f"given up after {work.attempts} requests in {waited:.0f}s: {reason}", reply)
        return True

    def _end(self, work: Work, outcome: Outcome, reason: str, reply: Reply[StatusRead] | None) -> None:
        self._ledger.ended(work, outcome, reason, reply)
        self.unsent -= 1
        if outcome is not Outcome.GONE:
            self._failed()


_FINAL = {
    Kind.REFUSED: ("action.refused", Outcome.REFUSED),
    Kind.GONE: ("action.failed", Outcome.GONE),
    Kind.FAILED: ("action.failed", Outcome.FAILED),
}
