"""Learning from every answer of a run what rate the API takes."""

from orchestrator.engine.observed_cloud import ObservedCloud
from orchestrator.engine.protocols import Clock, Cloud
from orchestrator.engine.rate.adaptive import AdaptiveRate
from orchestrator.engine.rate.gcra import Gcra
from orchestrator.reply import Reply


class AdaptiveCloud(ObservedCloud):
    """Passes requests on, tells the finder of each answer, and sets the rate limit to what it found."""

    def __init__(self, cloud: Cloud, finder: AdaptiveRate, limit: Gcra, clock: Clock) -> None:
        super().__init__(cloud, self._learn)
        self._finder, self._limit, self._clock = finder, limit, clock

    def __repr__(self) -> str:
        return f"<LearningCloud {self._finder!r} of {self._cloud!r}>"

    def _learn(self, reply: Reply[object]) -> None:
        # Whoever asked leaves the gate next, which has the one who waits there look at the new rate.
        self._finder.heard(reply, self._clock.now())
        self._limit.rate, self._limit.burst = self._finder.pace, self._finder.burst
