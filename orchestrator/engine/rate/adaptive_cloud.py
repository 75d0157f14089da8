"""Cloud wrapper for the adaptive rate: learns the accepted rate from every reply of a run."""

from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.adaptive import AdaptiveRate
from orchestrator.engine.rate.budget import Budget
from orchestrator.engine.workspace import ObservedCloud
from orchestrator.reply import Reply


class AdaptiveCloud(ObservedCloud):
    """Cloud wrapper: passes every reply to the adaptive rate, and sets the rate limit to the result.

    While another run shares the budget, the rate stays as it is.
    """

    def __init__(self, cloud: Cloud, adaptive_rate: AdaptiveRate, limit: Budget, clock: Clock) -> None:
        super().__init__(cloud, self._adapt_rate)
        self._adaptive_rate, self._limit, self._clock = adaptive_rate, limit, clock

    def __repr__(self) -> str:
        return f"<AdaptiveCloud {self._adaptive_rate!r} of {self._cloud!r}>"

    def _adapt_rate(self, reply: Reply[object]) -> None:
        # The caller leaves the gate next. The gate then wakes the next waiting request, which sees the new rate.
        now = self._clock.now()
        if self._limit.is_shared(now):
            return  # the replies to another run are unseen, and would make the limit look lower
        self._adaptive_rate.on_reply(reply, now)
        self._limit.rate, self._limit.burst = self._adaptive_rate.send_rate, self._adaptive_rate.burst
