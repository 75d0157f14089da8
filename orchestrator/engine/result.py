"""What a run came to: why it ended, with which exit code, and whether it met its deadline."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine.job import Job
from orchestrator.errors import AuditError
from orchestrator.outcome import Ending, Exit, Outcome


@dataclass(frozen=True, slots=True)
class Deadline:
    """By when every target is to be asked. Nothing is cut off by it.

    Attributes:
        seconds: from the run's start.
        at: the moment, by the engine's clock.
    """

    seconds: float
    at: float

    def verdict(self, jobs: Iterable[Job]) -> dict[str, object]:
        """Whether it was met: how many CVMs were first asked after it, or not at all although they were to be."""
        asked: dict[str, float] = {}
        for work in jobs:
            if work.first_sent is not None or work.outcome is Outcome.NOT_SENT:
                moment = float("inf") if work.first_sent is None else work.first_sent
                asked[work.ref.key] = min(moment, asked.get(work.ref.key, float("inf")))
        late = sum(moment > self.at for moment in asked.values())
        return {"seconds": self.seconds, "met": not late, "late": late}


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended.

    Attributes:
        ending: why it came to its end.
        exit_code: what the command exits with.
        error: the fault of the audit log, when that ended it.
    """

    ending: Ending
    exit_code: Exit
    error: AuditError | None = None
